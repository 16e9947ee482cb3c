"""Validate positions of streams, which may come from files, before compiled loops index with their numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "check_entries"]

Bounds = Mapping[str, tuple[Any, Any]]
"""Least and largest value of entries of a position, by name; numbers, or arrays that are broadcast to the entry."""


def check_entries(found: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]], bounds: Bounds) -> None:
    """Validate that entries are there, of their dtypes and shapes, finite and in range.

    Args:
        found: entries of a position by name; more than are wanted may be there.
        wanted: by name, of which only dtype and shape count; what is of length 0 may be longer.
        bounds: of some of them.

    Raises:
        ValueError: naming the first that does not fit, both values and what is allowed.
    """
    for name, like in wanted.items():
        if name not in found:
            raise ValueError(f"position has no {name}")
        entry = found[name]
        free = like.ndim > 0 and not len(like) and entry.ndim > 0
        if entry.dtype != like.dtype or entry.shape[free:] != like.shape[free:]:
            raise ValueError(
                f"position has {name} of {entry.dtype} {list(entry.shape)}, "
                f"the stream of {like.dtype} {list(like.shape)}"
            )
        if entry.dtype.kind == "f" and not np.isfinite(entry).all():
            raise ValueError(f"position has {name} of {entry[~np.isfinite(entry)][0]}, it must be finite")
        if name in bounds:
            least, most = (np.broadcast_to(end, entry.shape) for end in bounds[name])
            outside = (entry < least) | (entry > most)
            if outside.any():
                wrong, low, high = (values[outside][0] for values in (entry, least, most))
                raise ValueError(f"position has {name} of {wrong}, it must lie in {low} to {high}")
