"""Controls: no memory, recurrent networks, an exact dictionary."""
