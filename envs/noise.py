"""Noise: a vector environment that shows nothing but random numbers, whatever is done.

All entries of the observation are drawn anew in every step: uniformly where their space is bounded, from the standard
normal distribution where it is not, such as rewards; flags are 0 or 1. No episode ends, and no life begins.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

__all__ = ["Noise"]

_FLAGS = ("episode_start", "task_start")
_MOST = 2**32  # seeds of gymnasium's spaces


class Noise(VectorEnv[Any, Any, Any]):
    """Random observations in the spaces of a task stream.

    Args:
        num_envs: B.
        observation_space: of one life, as `TaskStream.single_observation_space`.
        action_space: of one life.
        seed: of the numbers.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012  as gymnasium has it

    def __init__(
        self, num_envs: int, observation_space: spaces.Dict, action_space: gymnasium.Space[Any], seed: int = 0
    ) -> None:
        self.num_envs, self._seed = num_envs, seed
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw the first observations."""
        self.observation_space.seed((self._seed if seed is None else seed) % _MOST)
        return self._drawn(), self._flags()

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Draw observations; the action has no effect."""
        obs, nothing = self._drawn(), np.zeros(self.num_envs, np.bool_)
        return obs, obs["previous_reward"][:, 0].astype(np.float64), nothing, nothing.copy(), self._flags()

    def _drawn(self) -> dict[str, Any]:
        obs: dict[str, Any] = self.observation_space.sample()
        return {name: np.rint(value) if name in _FLAGS else value for name, value in obs.items()}

    def _flags(self) -> dict[str, Any]:
        return {f"{what}_start": np.zeros(self.num_envs, np.bool_) for what in ("episode", "task", "life")}
