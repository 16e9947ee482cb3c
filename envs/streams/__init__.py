"""The streams, one per file."""
