"""Drifts of actions: what is done is not what was chosen.

A discrete action counts from the space's `start`; an action that is a Box is drifted entry by entry.

Source: sticky actions, arXiv:1709.06009.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.drifts.base import Change, Ints, Screen
from lifelong.envs.rng import Purpose, cycle, uniform

__all__ = ["DelayedActions", "ReversedActions", "ShuffledActions", "StickyActions"]


@dataclass(frozen=True, slots=True)
class ReversedActions(Screen):
    """The last action means the first; of a Box, the largest number the smallest, or without bounds its negative."""

    def change(self, shown: spaces.Space[Any], taken: spaces.Space[Any], lives: int) -> Change:
        """Return what is done."""
        if isinstance(taken, spaces.Discrete):
            return _Mapped(np.arange(int(taken.n))[::-1], int(taken.start))
        space = _box(taken)
        bounded = np.isfinite(space.low) & np.isfinite(space.high)
        middle = np.where(bounded, space.low, 0) + np.where(bounded, space.high, 0)
        return _Mirrored(middle.astype(space.dtype))


@dataclass(frozen=True, slots=True)
class ShuffledActions(Screen):
    """Every action means another one; of a Box, every entry goes where another one belongs.

    Args:
        order: number of the order, of as you like; each is one circle through all actions.

    Raises:
        ValueError: if `order` is negative.
    """

    order: int = 0

    def __post_init__(self) -> None:
        """Validate `order`."""
        if self.order < 0:
            raise ValueError(f"order must not be negative: order={self.order}")

    def change(self, shown: spaces.Space[Any], taken: spaces.Space[Any], lives: int) -> Change:
        """Return what is done."""
        if isinstance(taken, spaces.Discrete):
            return _Mapped(cycle(int(taken.n), self.order, Purpose.DRIFT), int(taken.start))
        space = _box(taken)
        if np.unique(space.low).size > 1 or np.unique(space.high).size > 1:
            raise ValueError(f"entries with other bounds cannot take each other's place: {space}")
        return _Permuted(cycle(int(np.prod(space.shape)), self.order, Purpose.DRIFT))


@dataclass(frozen=True, slots=True)
class DelayedActions(Screen):
    """Every action is done some steps later, the first one also until then.

    Args:
        steps: how much later.

    Raises:
        ValueError: if `steps` is not positive.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        """Validate the delay."""
        if self.steps < 1:
            raise ValueError(f"steps must be positive: steps={self.steps}")

    def change(self, shown: spaces.Space[Any], taken: spaces.Space[Any], lives: int) -> Change:
        """Return what is done."""
        return _Late(self.steps, taken, lives)


@dataclass(frozen=True, slots=True)
class StickyActions(Screen):
    """Now and then what was done last is done again, whatever was chosen.

    Args:
        probability: of that, in every step but the first.

    Raises:
        ValueError: if `probability` does not lie in (0, 1].
    """

    probability: float = 0.25

    def __post_init__(self) -> None:
        """Validate the probability, which must not be 0."""
        if not 0.0 < self.probability <= 1.0:
            raise ValueError(f"probability must lie in (0, 1]: probability={self.probability}")

    def change(self, shown: spaces.Space[Any], taken: spaces.Space[Any], lives: int) -> Change:
        """Return what is done."""
        return _Stuck(self.probability, taken, lives)


class _Mapped(Change):
    def __init__(self, meaning: Ints, start: int) -> None:
        self.meaning, self.start = meaning, start

    def action(self, lives: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        meant: NDArray[Any] = self.meaning[actions - self.start] + self.start
        return meant


class _Mirrored(Change):
    def __init__(self, middle: Any) -> None:
        self.middle = middle  # twice the middle of each entry

    def action(self, lives: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        mirrored: NDArray[Any] = self.middle - actions
        return mirrored


class _Permuted(Change):
    def __init__(self, order: Ints) -> None:
        self.order = order

    def action(self, lives: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        return actions.reshape(lives.size, -1)[:, self.order].reshape(actions.shape)


class _Late(Change):
    kept = ("waiting", "fresh")

    def __init__(self, steps: int, taken: spaces.Space[Any], lives: int) -> None:
        self.waiting = np.zeros((lives, steps + 1, *(taken.shape or ())), taken.dtype)
        self.fresh = np.ones(lives, np.bool_)

    def begin(self, lives: Ints, seeds: NDArray[np.uint64]) -> None:
        self.fresh[lives] = True

    def action(self, lives: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        fresh = self.fresh[lives]
        waiting = np.concatenate((self.waiting[lives, 1:], actions[:, None]), 1)
        waiting[fresh] = actions[fresh, None]
        self.waiting[lives], self.fresh[lives] = waiting, False
        return waiting[:, 0]


class _Stuck(Change):
    kept = ("seed", "step", "last")

    def __init__(self, probability: float, taken: spaces.Space[Any], lives: int) -> None:
        self.probability = probability
        self.seed, self.step = np.zeros(lives, np.uint64), np.zeros(lives, np.int64)
        self.last = np.zeros((lives, *(taken.shape or ())), taken.dtype)

    def begin(self, lives: Ints, seeds: NDArray[np.uint64]) -> None:
        self.seed[lives], self.step[lives] = seeds, 0

    def action(self, lives: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        step = self.step[lives]
        stuck = (step > 0) & (uniform(self.seed[lives], Purpose.DRIFT, step) < self.probability)
        done = actions.copy()
        done[stuck] = self.last[lives[stuck]]
        self.last[lives], self.step[lives] = done, step + 1
        return done


def _box(space: spaces.Space[Any]) -> spaces.Box:
    if not isinstance(space, spaces.Box):
        raise ValueError(f"actions must be Discrete or Box, got {space}")
    return space
