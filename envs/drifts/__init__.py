"""Drifts: what differs in one task from the environment as it is made, as data; undone before the next episode."""
