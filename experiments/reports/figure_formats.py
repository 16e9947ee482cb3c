"""Formats of figures."""

__all__ = ["FORMATS"]

FORMATS = (".pdf", ".svg", ".png")
"""Suffixes of files that figures are written to."""
