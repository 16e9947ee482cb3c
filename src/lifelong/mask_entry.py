"""Find the entry `action_mask` of an observation, however deep it lies in Dicts and Tuples."""

import math
from collections.abc import Iterator
from typing import Any

from gymnasium import spaces

from lifelong.action_spaces import choice_sizes

__all__ = ["NAME", "at_path", "mask_path"]

NAME = "action_mask"

Path = tuple[Any, ...]


def mask_path(space: spaces.Space[Any], actions: spaces.Space[Any]) -> Path | None:
    """Return the keys that lead to the action mask of an observation; None where there is none, or no choice.

    One at the top is the mask. Of those further down there must be one that has as many numbers as the actions have
    choices.

    Args:
        space: of one observation.
        actions: of one action.

    Raises:
        ValueError: if it is not clear which entry is the mask, or none of them fits; names them and the numbers.
    """
    size = int(choice_sizes(actions).sum())
    if not size:
        return None
    if isinstance(space, spaces.Dict) and NAME in space.spaces:
        return (NAME,)
    found = dict(_named(space))
    fitting = [path for path, inner in found.items() if _numbers(inner) == size]
    if len(fitting) == 1:
        return fitting[0]
    if not found:
        return None
    listed = ", ".join(f"{'/'.join(map(str, path))} ({_numbers(inner)} numbers)" for path, inner in found.items())
    why = "more than one entry fits" if fitting else "no entry fits"
    raise ValueError(
        f"{why} as the mask of the {size} choices of the actions: {listed}; rename what is no mask, or give one at the "
        "top of the observation"
    )


def at_path(observation: Any, path: Path) -> Any:
    """Return the entry of an observation to which keys lead."""
    for key in path:
        observation = observation[key]
    return observation


def _named(space: spaces.Space[Any], path: Path = ()) -> Iterator[tuple[Path, spaces.Space[Any]]]:
    """Yield the entries that are named so, with their paths."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for key, inner in space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces):
            if key == NAME:
                yield (*path, key), inner
            else:
                yield from _named(inner, (*path, key))


def _numbers(space: spaces.Space[Any]) -> int:
    """Return how many numbers a mask of a space has; those of a Dict or Tuple are side by side."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inner = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return sum(_numbers(part) for part in inner)
    return math.prod(space.shape or ())
