"""Networks trained at test time."""
