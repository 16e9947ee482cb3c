"""Drifts of actions: what is done is not what was chosen.

A discrete action counts from the space's `start`; an action that is a Box is drifted entry by entry.

Source: sticky actions, arXiv:1709.06009.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from lifelong.envs.draws import Purpose, cycle, uniform
from lifelong.envs.drift import Change, Drift

__all__ = ["DelayedActions", "ReversedActions", "ShuffledActions", "StickyActions"]

_BLOCK = 64  # steps that are drawn at once


@dataclass(frozen=True, slots=True)
class ReversedActions(Drift):
    """The last action means the first; of a Box, the largest number the smallest, or without bounds its negative."""

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return what is done in the coming episode."""
        space = env.action_space
        if isinstance(space, spaces.Discrete):
            return _Mapped([int(space.n) - 1 - a for a in range(int(space.n))], int(space.start))
        space = _box(space)
        bounded = np.isfinite(space.low) & np.isfinite(space.high)
        middle = np.where(bounded, space.low, 0) + np.where(bounded, space.high, 0)
        return _Mirrored(middle.astype(space.dtype))


@dataclass(frozen=True, slots=True)
class ShuffledActions(Drift):
    """Every action means another one; of a Box, every entry goes where another one belongs.

    Args:
        order: number of the order, of as many as you like; each is one circle through all actions.

    Raises:
        ValueError: if `order` is negative.
    """

    order: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no number of an order."""
        if self.order < 0:
            raise ValueError(f"order must not be negative: order={self.order}")

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return what is done in the coming episode."""
        space = env.action_space
        if isinstance(space, spaces.Discrete):
            return _Mapped(cycle(int(space.n), self.order, Purpose.DRIFT).tolist(), int(space.start))
        space = _box(space)
        if np.unique(space.low).size > 1 or np.unique(space.high).size > 1:
            raise ValueError(f"entries with other bounds cannot take each other's place: {space}")
        return _Permuted(cycle(int(np.prod(space.shape)), self.order, Purpose.DRIFT))


@dataclass(frozen=True, slots=True)
class DelayedActions(Drift):
    """Every action is done some steps later, the first one also until then.

    Args:
        steps: how much later.

    Raises:
        ValueError: if `steps` is not positive.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no delay."""
        if self.steps < 1:
            raise ValueError(f"steps must be positive: steps={self.steps}")

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return what is done in the coming episode."""
        return _Late(self.steps)


@dataclass(frozen=True, slots=True)
class StickyActions(Drift):
    """Now and then what was done last is done again, whatever was chosen.

    Args:
        probability: of that, in every step but the first.

    Raises:
        ValueError: if `probability` does not lie in (0, 1].
    """

    probability: float = 0.25

    def __post_init__(self) -> None:
        """Refuse what is no probability, or never happens."""
        if not 0.0 < self.probability <= 1.0:
            raise ValueError(f"probability must lie in (0, 1]: probability={self.probability}")

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return what is done in the coming episode."""
        return _Stuck(self.probability, seed)


class _Mapped(Change):
    def __init__(self, meaning: list[int], start: int) -> None:
        self.meaning, self.start = meaning, start

    def action(self, action: Any) -> Any:
        return self.meaning[int(action) - self.start] + self.start


class _Mirrored(Change):
    def __init__(self, middle: Any) -> None:
        self.middle = middle  # twice the middle of each entry

    def action(self, action: Any) -> Any:
        return self.middle - action


class _Permuted(Change):
    def __init__(self, order: Any) -> None:
        self.order = order

    def action(self, action: Any) -> Any:
        return np.ravel(action)[self.order].reshape(np.shape(action))


class _Late(Change):
    def __init__(self, steps: int) -> None:
        self.waiting: deque[Any] = deque(maxlen=steps + 1)

    def action(self, action: Any) -> Any:
        self.waiting.append(action)
        if len(self.waiting) == 1:
            self.waiting.extend([action] * (self.waiting.maxlen or 0))
        return self.waiting[0]


class _Stuck(Change):
    def __init__(self, probability: float, seed: int) -> None:
        self.probability, self.seed, self.step, self.last = probability, seed, 0, None
        self.stuck: list[bool] = []

    def action(self, action: Any) -> Any:
        at = self.step % _BLOCK
        if at == 0:
            drawn = uniform(self.seed, Purpose.DRIFT, self.step + np.arange(_BLOCK))
            self.stuck = (drawn < self.probability).tolist()
        if self.step == 0 or not self.stuck[at]:
            self.last = action
        self.step += 1
        return self.last


def _box(space: spaces.Space[Any]) -> spaces.Box:
    if not isinstance(space, spaces.Box):
        raise ValueError(f"actions must be Discrete or Box, got {space}")
    return space
