"""Entries of nested observation spaces, with their paths."""

from typing import Any

from gymnasium import spaces

__all__ = ["leaves_of"]


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
