"""Wrap any gymnasium vector environment as one long life per slot, with a task stream's entries and flags.

`reset` and `step` return the observation with the entries of `history.py`, and `info` with

| key | meaning |
| --- | --- |
| episode_start | [B] the observation is the first of an episode |
| task_start, life_start | [B] true after `reset` only |
| episodes | when episodes ended, one row for each: `step`, `life`, `episode`, `return`, `length` |
| final_obs | when episodes were truncated, the batch of observations before the reset |
"""

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lifelong.agents.episode_ends import final_observation
from lifelong.agents.history import no_action, space_with_history

__all__ = ["HistoryWrapper"]

_ALLOWED = (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)


class HistoryWrapper(VectorWrapper):
    """Add previous action, previous reward and episode starts to observations, and start flags to `info`.

    With `AutoresetMode.DISABLED` the wrapper resets the environments whose episodes ended, by `reset_mask`.

    Args:
        env: with Discrete or Box actions; those of a Discrete space are given from 0 here, whatever its `start`.
        history: whether observations get the additional entries; else only `info` changes.

    Raises:
        ValueError: if `env` resets in the step after an episode's end: such a step takes no action, so it is no step
            of a life.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], *, history: bool = True) -> None:
        super().__init__(env)
        self.autoreset_mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        if self.autoreset_mode not in _ALLOWED:
            raise ValueError(
                f"env must have the autoreset mode {' or '.join(mode.name for mode in _ALLOWED)}, got "
                f"{getattr(self.autoreset_mode, 'name', self.autoreset_mode)}; for example gymnasium.make_vec(id, "
                "num_envs=8, vectorization_mode='sync', vector_kwargs={'autoreset_mode': AutoresetMode.SAME_STEP})"
            )
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.history = history
        action_space = env.single_action_space
        self._first_action = int(action_space.start) if isinstance(action_space, spaces.Discrete) else 0
        if history:
            self.single_observation_space = space_with_history(env.single_observation_space, action_space)
            self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin new lives in all slots; see `VectorEnv.reset`."""
        return self.begin(self.env.reset(seed=seed, options=options)[0])

    def begin(self, observation: Any) -> tuple[Any, dict[str, Any]]:
        """Begin new lives in all slots from what `reset` of the wrapped environment returned.

        Args:
            observation: [B] of the wrapped environment, just reset.
        """
        B = self.num_envs
        self._action, self._reward = no_action(self.env.single_action_space, B), np.zeros(B)
        self._episode_start, self._steps = np.ones(B, np.bool_), 0
        self._episode, self._length, self._return = np.zeros(B, np.int64), np.zeros(B, np.int64), np.zeros(B)
        return self._with_history(observation), self._flags(np.ones(B, np.bool_))

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Any, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step all environments.

        Args:
            actions: [B, ...], counted from 0 if they are Discrete.

        Returns:
            Observations, rewards [B], terminated [B], truncated [B] and `info`; where an episode ended the observation
            is the next one's first.
        """
        actions = np.asarray(actions)
        taken = actions + self._first_action if self._first_action else actions
        observation, reward, terminated, truncated, info = self.env.step(taken)
        ended = np.asarray(terminated | truncated)
        self._action, self._reward, self._episode_start = actions.copy(), np.array(reward), np.zeros_like(ended)
        self._steps, self._length, self._return = self._steps + 1, self._length + 1, self._return + reward
        extra: dict[str, Any] = {}
        if ended.any():
            if self.autoreset_mode == AutoresetMode.DISABLED:
                final = copy.deepcopy(observation)
                observation, _ = self.env.reset(options={"reset_mask": ended})
            else:
                final = final_observation(self.env, observation, info) if truncated.any() else None
            if truncated.any():
                extra["final_obs"] = self._with_history(final)
            extra["episodes"] = self._end(ended)
        self._episode_start = ended
        return self._with_history(observation), reward, terminated, truncated, self._flags(np.zeros_like(ended)) | extra

    def _end(self, ended: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return the rows of the episodes that ended, and begin the next ones."""
        slots = np.flatnonzero(ended)
        rows: dict[str, NDArray[Any]] = {
            "step": np.full(slots.size, self._steps * self.num_envs, np.int64),
            "life": slots,
            "episode": self._episode[slots],
            "return": self._return[slots].astype(np.float32),
            "length": self._length[slots].astype(np.int32),
        }
        self._episode[slots] += 1
        self._return[slots] = self._length[slots] = 0
        return rows

    def _with_history(self, observation: Any) -> Any:
        observation = copy.deepcopy(observation)  # some environments write over what they returned
        if not self.history:
            return observation
        return {
            "observation": observation,
            "previous_action": self._action.copy(),
            "previous_reward": self._reward[:, None].astype(np.float32),
            "episode_start": self._episode_start[:, None].astype(np.float32),
        }

    def _flags(self, life_start: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "episode_start": self._episode_start | life_start,
            "task_start": life_start.copy(),
            "life_start": life_start,
        }
