"""Entries of nested observation spaces, with their paths."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.readable import brief

__all__ = ["check_categories", "leaves_of", "where"]


def leaves_of(space: spaces.Space[Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], spaces.Space[Any]]]:
    """Return the entries of a space that are no Dict or Tuple, or an empty one, with their paths.

    A space that is no Dict or Tuple is one entry, `observation`.

    Args:
        space: of one observation.
        path: of the space itself.
    """
    if isinstance(space, spaces.Dict) and space.spaces:
        return [leaf for key, inner in space.spaces.items() for leaf in leaves_of(inner, (*path, key))]
    if isinstance(space, spaces.Tuple) and space.spaces:
        return [leaf for i, inner in enumerate(space.spaces) for leaf in leaves_of(inner, (*path, str(i)))]
    return [(path or ("observation",), space)]


def check_categories(array: NDArray[Any], leaf: Any, path: tuple[str, ...]) -> None:
    """Validate the categories of an entry, any batch of them.

    Args:
        array: [..., *shape].
        leaf: Discrete or MultiDiscrete.
        path: of the entry.

    Raises:
        ValueError: if they are no integers, or not of the space.
    """
    count = leaf.n if isinstance(leaf, spaces.Discrete) else leaf.nvec
    from_zero = array.astype(np.int64) - leaf.start
    if array.dtype.kind not in "iu" or (from_zero < 0).any() or (from_zero >= count).any():
        raise ValueError(f"obs{where(path)} must be of {brief(leaf)}, got {array.dtype} {array.min()} to {array.max()}")


def where(path: tuple[str, ...]) -> str:
    """Return the place of an entry behind the name of an observation."""
    return "".join(f"[{key!r}]" for key in path if path != ("observation",))
