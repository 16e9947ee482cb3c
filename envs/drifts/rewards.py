"""Drifts of rewards: the same deeds are worth something else, or are paid later.

The references of a task are compared with what is paid: give those of the task with its drifts.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.drifts.base import Change, Ints, Screen

__all__ = ["DelayedRewards", "ScaledRewards"]


@dataclass(frozen=True, slots=True)
class ScaledRewards(Screen):
    """Every reward times a number; of -1, what was good is bad.

    Args:
        factor: the number.

    Raises:
        ValueError: if `factor` is not finite, or 1.
    """

    reward_only: ClassVar[bool] = True
    factor: float = -1.0

    def __post_init__(self) -> None:
        """Validate the factor, which must not be 1."""
        if not math.isfinite(self.factor) or self.factor == 1:
            raise ValueError(f"factor must be finite and not 1: factor={self.factor}")

    def change(self, shown: spaces.Space[Any], taken: spaces.Space[Any], lives: int) -> Change:
        """Return what is paid."""
        return _Scaled(self.factor)


@dataclass(frozen=True, slots=True)
class DelayedRewards(Screen):
    """Every reward is paid some steps later, or at the end of the episode: the return stays the same.

    Args:
        steps: how much later.

    Raises:
        ValueError: if `steps` is not positive.
    """

    reward_only: ClassVar[bool] = True
    steps: int = 1

    def __post_init__(self) -> None:
        """Validate the delay."""
        if self.steps < 1:
            raise ValueError(f"steps must be positive: steps={self.steps}")

    def change(self, shown: spaces.Space[Any], taken: spaces.Space[Any], lives: int) -> Change:
        """Return what is paid."""
        return _Owed(self.steps, lives)


class _Scaled(Change):
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def reward(self, lives: Ints, rewards: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
        return self.factor * rewards


class _Owed(Change):
    kept = ("owed",)

    def __init__(self, steps: int, lives: int) -> None:
        self.owed = np.zeros((lives, steps))

    def begin(self, lives: Ints, seeds: NDArray[np.uint64]) -> None:
        self.owed[lives] = 0.0

    def reward(self, lives: Ints, rewards: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
        owed = np.concatenate((self.owed[lives], rewards[:, None]), 1)
        self.owed[lives] = owed[:, 1:]
        return np.where(over, owed.sum(1), owed[:, 0])
