"""Observations as one vector of numbers, for libraries that read no Dict."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["Flat"]

_MOST = 2**20  # entries of a one-hot vector


class Flat:
    """Flattens batches of observations as `gymnasium.spaces.flatten` does single ones, to float32.

    Numbers stay as they are, categorical ones become one-hot; entries follow each other in the order of the Dict.

    Args:
        space: of one observation: Box, Discrete, MultiBinary, MultiDiscrete, and Dict of these.

    Raises:
        ValueError: if another space is in it, or one with more than 2^20 categories.
    """

    def __init__(self, space: gymnasium.Space[Any]) -> None:
        self._parts = _parts(space)
        low, high = ([getattr(part, bound)() for _, part in self._parts] for bound in ("low", "high"))
        self.space = spaces.Box(np.concatenate(low), np.concatenate(high), dtype=np.float32)
        """Box [n] float32, of one observation."""

    def __call__(self, obs: Any) -> NDArray[np.float32]:
        """Return [B, n] of a batch of observations."""
        columns = []
        for path, part in self._parts:
            value = obs
            for key in path:
                value = value[key]
            columns.append(part(np.asarray(value)))
        return np.concatenate(columns, 1)


class _Numbers:
    """Numbers as they are."""

    def __init__(self, space: spaces.Box | spaces.MultiBinary) -> None:
        bounds = (space.low, space.high) if isinstance(space, spaces.Box) else (0, 1)
        with np.errstate(over="ignore"):  # what float32 does not hold is unbounded
            self._low, self._high = (np.broadcast_to(bound, space.shape).ravel().astype(np.float32) for bound in bounds)

    def low(self) -> NDArray[np.float32]:
        return self._low

    def high(self) -> NDArray[np.float32]:
        return self._high

    def __call__(self, value: NDArray[Any]) -> NDArray[np.float32]:
        return value.reshape(len(value), -1).astype(np.float32)


class _Categories:
    """Categorical numbers, one-hot."""

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete) -> None:
        counts = np.array([space.n]) if isinstance(space, spaces.Discrete) else space.nvec.ravel()
        counts = counts.astype(np.int64)
        self._width = int(counts.sum())
        self._first = np.cumsum(counts) - counts - np.asarray(space.start).ravel()

    def low(self) -> NDArray[np.float32]:
        return np.zeros(self._width, np.float32)

    def high(self) -> NDArray[np.float32]:
        return np.ones(self._width, np.float32)

    def __call__(self, value: NDArray[Any]) -> NDArray[np.float32]:
        hot = np.zeros((len(value), self._width), np.float32)
        np.put_along_axis(hot, value.reshape(len(value), -1).astype(np.int64) + self._first, 1.0, 1)
        return hot


def _parts(space: gymnasium.Space[Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Return where each part of an observation is found in it, and what flattens it."""
    if isinstance(space, spaces.Dict):
        return [part for key, inner in space.spaces.items() for part in _parts(inner, (*path, key))]
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return [(path, _Numbers(space))]
    name = "/".join(path) or "this stream"
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        numbers = int(space.n) if isinstance(space, spaces.Discrete) else int(space.nvec.sum(dtype=np.int64))
        if numbers > _MOST:
            raise ValueError(f"flat observations of {name} would have {numbers} numbers, at most {_MOST}: {space}")
        return [(path, _Categories(space))]
    raise ValueError(f"flat observations of {name} need a Box, MultiBinary, Discrete, MultiDiscrete or Dict: {space}")
