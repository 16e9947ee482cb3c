"""Drifts of rewards: the same deeds are worth something else, or are paid later.

The references of a task are compared with what is paid: give those of the task with its drifts.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium

from lifelong.envs.drift import Change, Drift

__all__ = ["DelayedRewards", "ScaledRewards"]


@dataclass(frozen=True, slots=True)
class ScaledRewards(Drift):
    """Every reward times a number; of -1, what was good is bad.

    Args:
        factor: the number.

    Raises:
        ValueError: if `factor` is not finite, or 1.
    """

    reward_only: ClassVar[bool] = True
    factor: float = -1.0

    def __post_init__(self) -> None:
        """Refuse what is no factor, or changes nothing."""
        if not math.isfinite(self.factor) or self.factor == 1:
            raise ValueError(f"factor must be finite and not 1: factor={self.factor}")

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return what is paid in the coming episode."""
        return _Scaled(self.factor)


@dataclass(frozen=True, slots=True)
class DelayedRewards(Drift):
    """Every reward is paid some steps later, or at the end of the episode: the return stays the same.

    Args:
        steps: how much later.

    Raises:
        ValueError: if `steps` is not positive.
    """

    reward_only: ClassVar[bool] = True
    steps: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no delay."""
        if self.steps < 1:
            raise ValueError(f"steps must be positive: steps={self.steps}")

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return what is paid in the coming episode."""
        return _Owed(self.steps)


class _Scaled(Change):
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def reward(self, reward: float, over: bool) -> float:
        return self.factor * reward


class _Owed(Change):
    def __init__(self, steps: int) -> None:
        self.owed = deque([0.0] * steps)

    def reward(self, reward: float, over: bool) -> float:
        self.owed.append(reward)
        return sum(self.owed) if over else self.owed.popleft()
