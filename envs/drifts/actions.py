"""Drifts of actions: the executed action differs from the chosen one.

A discrete action counts from the space's `start`; an action that is a Box is drifted entry by entry. Reversed, delayed
and sticky actions may be MultiDiscrete or MultiBinary too; none may be a Dict or Tuple.

Source: sticky actions, arXiv:1709.06009.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.action_spaces import is_nested
from lifelong.envs.drifts.base import Change, Ints, Screen
from lifelong.envs.rng import Purpose, cycle, uniform

__all__ = ["DelayedActions", "ReversedActions", "ShuffledActions", "StickyActions"]


@dataclass(frozen=True, slots=True)
class ReversedActions(Screen):
    """Reverse the actions: the order of choices, a Box mirrored within its bounds, or negated without them."""

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        if isinstance(action_space, spaces.Discrete):
            return _Mapped(np.arange(int(action_space.n))[::-1], int(action_space.start))
        if isinstance(action_space, spaces.MultiDiscrete | spaces.MultiBinary):
            start, most = getattr(action_space, "start", 0), getattr(action_space, "nvec", 2) - 1
            sizes = np.broadcast_to(most + 1, action_space.shape).reshape(-1)
            order = np.concatenate(
                [first + np.arange(n)[::-1] for first, n in zip(np.cumsum(sizes) - sizes, sizes, strict=True)]
            )
            return _Mirrored(np.asarray(2 * start + most, action_space.dtype), order)
        space = _box(action_space)
        bounded = np.isfinite(space.low) & np.isfinite(space.high)
        middle = np.where(bounded, space.low, 0) + np.where(bounded, space.high, 0)
        return _Mirrored(middle.astype(space.dtype))


@dataclass(frozen=True, slots=True)
class ShuffledActions(Screen):
    """Permute the actions; of a Box, its entries.

    Args:
        order: number of the permutation, any; each is a cyclic permutation of all actions.

    Raises:
        ValueError: if `order` is negative.
    """

    order: int = 0

    def __post_init__(self) -> None:
        """Validate `order`."""
        if self.order < 0:
            raise ValueError(f"order must not be negative: order={self.order}")

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        if isinstance(action_space, spaces.Discrete):
            return _Mapped(cycle(int(action_space.n), self.order, Purpose.DRIFT), int(action_space.start))
        space = _box(action_space)
        if np.unique(space.low).size > 1 or np.unique(space.high).size > 1:
            raise ValueError(f"entries with other bounds cannot take each other's place: {space}")
        return _Permuted(cycle(int(np.prod(space.shape)), self.order, Purpose.DRIFT))


@dataclass(frozen=True, slots=True)
class DelayedActions(Screen):
    """Delay every action; until then the first one is executed.

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

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        return _Late(self.steps, _array(action_space), num_envs)


@dataclass(frozen=True, slots=True)
class StickyActions(Screen):
    """Repeat the previously executed action with some probability.

    Args:
        probability: of a repeat, in every step but the first.

    Raises:
        ValueError: if `probability` does not lie in (0, 1].
    """

    probability: float = 0.25

    def __post_init__(self) -> None:
        """Validate the probability, which must not be 0."""
        if not 0.0 < self.probability <= 1.0:
            raise ValueError(f"probability must lie in (0, 1]: probability={self.probability}")

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        return _Stuck(self.probability, _array(action_space), num_envs)


class _Mapped(Change):
    def __init__(self, meaning: Ints, start: int) -> None:
        self.meaning, self.start = meaning, start

    def action(self, slots: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        meant: NDArray[Any] = self.meaning[actions - self.start] + self.start
        return meant

    def mask(self, slots: Ints, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return masks[:, self.meaning]


class _Mirrored(Change):
    def __init__(self, middle: Any, order: Ints | None = None) -> None:
        self.middle = middle  # twice the middle of each entry
        self.order = order  # of the choices that masks speak of

    def action(self, slots: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        mirrored: NDArray[Any] = self.middle - actions
        return mirrored

    def mask(self, slots: Ints, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return masks if self.order is None else masks[:, self.order]


class _Permuted(Change):
    def __init__(self, order: Ints) -> None:
        self.order = order

    def action(self, slots: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        return actions.reshape(slots.size, -1)[:, self.order].reshape(actions.shape)


class _Late(Change):
    kept = ("waiting", "fresh")

    def __init__(self, steps: int, action_space: spaces.Space[Any], num_envs: int) -> None:
        self.waiting = np.zeros((num_envs, steps + 1, *(action_space.shape or ())), action_space.dtype)
        self.fresh = np.ones(num_envs, np.bool_)

    def begin(self, slots: Ints, seeds: NDArray[np.uint64]) -> None:
        self.fresh[slots] = True

    def action(self, slots: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        fresh = self.fresh[slots]
        waiting = np.concatenate((self.waiting[slots, 1:], actions[:, None]), 1)
        waiting[fresh] = actions[fresh, None]
        self.waiting[slots], self.fresh[slots] = waiting, False
        return waiting[:, 0]


class _Stuck(Change):
    kept = ("seed", "step", "last")

    def __init__(self, probability: float, action_space: spaces.Space[Any], num_envs: int) -> None:
        self.probability = probability
        self.seed, self.step = np.zeros(num_envs, np.uint64), np.zeros(num_envs, np.int64)
        self.last = np.zeros((num_envs, *(action_space.shape or ())), action_space.dtype)

    def begin(self, slots: Ints, seeds: NDArray[np.uint64]) -> None:
        self.seed[slots], self.step[slots] = seeds, 0

    def action(self, slots: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        step = self.step[slots]
        stuck = (step > 0) & (uniform(self.seed[slots], Purpose.DRIFT, step) < self.probability)
        executed = actions.copy()
        executed[stuck] = self.last[slots[stuck]]
        self.last[slots], self.step[slots] = executed, step + 1
        return executed


def _array(space: spaces.Space[Any]) -> spaces.Space[Any]:
    if is_nested(space):
        raise ValueError(f"actions must not be a Dict or Tuple, got {space}")
    return space


def _box(space: spaces.Space[Any]) -> spaces.Box:
    if not isinstance(space, spaces.Box):
        raise ValueError(f"actions must be Discrete or Box, got {space}")
    return space
