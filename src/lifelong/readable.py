"""Refuse entries of observations that no agent can read, with the remedy."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces

__all__ = ["LARGEST", "MANY", "MOST", "SUPPORTED", "brief", "masked_fault", "refusal", "same_names"]

LARGEST = np.float64(np.finfo(np.float32).max)
"""Largest number that float32 holds; a float64 of numpy, which widens float16 that is compared with it."""
MANY = 1 << 16
"""Categories up to which each has a row of its own in an embedding; beyond, one row for each of two digits."""
MOST = 1 << 24
"""Most categories of one entry, and most rows of an entry's embedding."""
SUPPORTED = "Box, Discrete, MultiBinary, MultiDiscrete, Text, and Dict or Tuple of these"

_REMEDIES: dict[type[Any], str] = {
    spaces.Sequence: "its length varies; pad it to a Box or MultiDiscrete of one length",
    spaces.Graph: "its number of nodes varies; give nodes and edges as two Boxes of fixed sizes, padded",
    spaces.OneOf: "its parts take turns; give a Dict of all parts, and a Discrete that says which one counts",
}


def brief(space: spaces.Space[Any], most: int = 100) -> str:
    """Return a space in one line of so many characters, for messages."""
    text = " ".join(str(space).split())
    return text if len(text) <= most else f"{text[: most - 5]} ...)"


def masked_fault(value: Any) -> str | None:
    """Return what is wrong with a masked array of numpy, some values of which are masked; None of anything else.

    `numpy.asarray` would take the numbers that lie below.
    """
    if not isinstance(value, np.ma.MaskedArray) or not np.ma.is_masked(value):
        return None
    masked = np.count_nonzero(np.ma.getmaskarray(value))
    return f"must hold no masked values, got {masked} of {value.size}; numpy.ma.filled gives them numbers"


def refusal(space: spaces.Space[Any]) -> str | None:
    """Return why no agent can read an entry of an observation, and what to do; None if it can be read.

    Args:
        space: of the entry; of a Dict or Tuple, whether it is empty.
    """
    if isinstance(space, spaces.Dict) and (twice := same_names(space)):
        return twice
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return None if len(space.spaces) else "it has no entries; leave it out, or give a constant Discrete(1)"
    if isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete) and 0 in (space.shape or (1,)):
        return f"it is empty, of shape {list(space.shape or ())}; leave it out, or give a constant Discrete(1)"
    if space.dtype == np.longdouble:
        return f"its numbers are of {space.dtype}; give float32 or float64"
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return _too_many(space)
    if isinstance(space, spaces.Box | spaces.MultiBinary | spaces.Text):
        return None
    remedy = next((text for kind, text in _REMEDIES.items() if isinstance(space, kind)), None)
    return f"{remedy} (gymnasium.wrappers.TransformObservation)" if remedy else f"supported are {SUPPORTED}"


def same_names(space: spaces.Dict) -> str | None:
    """Return which keys of a Dict are one name as text, and what to do; None if all differ."""
    first: dict[str, object] = {}
    for key in space.spaces:
        if (other := first.setdefault(str(key), key)) is not key:
            return f"its keys {other!r} and {key!r} have the same name; rename one"
    return None


def _too_many(space: spaces.Discrete | spaces.MultiDiscrete) -> str | None:
    sizes = [int(n) for n in np.reshape(space.n if isinstance(space, spaces.Discrete) else space.nvec, -1)]
    if max(sizes) > MOST:
        return (
            f"it has {max(sizes):,} categories, and at most {MOST:,} can be told apart by an embedding; give a number "
            "as a Box, or a code as its digits in a MultiDiscrete"
        )
    rows = sum(n if n <= MANY else 2 * math.isqrt(n) for n in sizes)
    if rows > MOST:
        return (
            f"its {len(sizes):,} places have {rows:,} categories together, and an embedding has at most {MOST:,} rows; "
            "give numbers as a Box"
        )
    return None
