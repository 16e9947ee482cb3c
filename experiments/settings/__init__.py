"""Settings of each verb: what its words mean, and which are wrong. No torch is imported here, nor what loads it."""
