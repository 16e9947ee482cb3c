"""Drifts of rewards: scaled or delayed.

A task's reference scores are compared with drifted rewards: give those of the task with its drifts.
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
    """Multiply every reward by a factor.

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

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        return _Scaled(self.factor)


@dataclass(frozen=True, slots=True)
class DelayedRewards(Screen):
    """Delay every reward by some steps, at most to the end of the episode: the return stays the same.

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

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        return _Owed(self.steps, num_envs)


class _Scaled(Change):
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def reward(self, slots: Ints, rewards: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
        return self.factor * rewards


class _Owed(Change):
    kept = ("owed",)

    def __init__(self, steps: int, num_envs: int) -> None:
        self.owed = np.zeros((num_envs, steps))

    def begin(self, slots: Ints, seeds: NDArray[np.uint64]) -> None:
        self.owed[slots] = 0.0

    def reward(self, slots: Ints, rewards: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
        owed = np.concatenate((self.owed[slots], rewards[:, None]), 1)
        self.owed[slots] = owed[:, 1:]
        return np.where(over, owed.sum(1), owed[:, 0])
