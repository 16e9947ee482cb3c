"""Sizes of the inputs of a measurement."""

from typing import NamedTuple

__all__ = ["Shape"]


class Shape(NamedTuple):
    """Sizes of the inputs; keys and values are equally wide."""

    B: int
    T: int
    H: int
    d: int

    def __str__(self) -> str:
        """Return the text in a table."""
        return f"B={self.B} T={self.T} H={self.H} d={self.d}"
