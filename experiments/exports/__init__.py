"""Formats of other programs that `lifelong export` writes, one a file."""
