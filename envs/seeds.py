"""The range of seeds, and seeds that are integers of numpy."""

import operator
from typing import Any

__all__ = ["SEEDS", "python_integer"]

SEEDS = 2**63
"""Seeds that a user can give: 0 to 2^63 - 1. The 64th bit is the split: 0 for training, 1 for evaluation."""


def python_integer(seed: Any) -> int:
    """Return a seed as an integer of Python's: one of numpy would overflow, and gymnasium's own environments refuse it.

    Raises:
        TypeError: if it is no integer.
    """
    try:
        return operator.index(seed)
    except TypeError:
        raise TypeError(f"seed must be an integer, got {seed!r}") from None
