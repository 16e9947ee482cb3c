"""Wrap any gymnasium vector environment as one long life per slot, with a task stream's entries and flags.

`reset` and `step` return the observation with the entries of `history.py`, and `info` with

| key | meaning |
| --- | --- |
| episode_start | [B] the observation is the first of an episode |
| task_start, life_start | [B] true after `reset` only |
| episodes | when episodes ended, one row for each: `step`, `life`, `episode`, `return`, `length` |
| final_obs | when episodes were truncated, the batch of observations before the reset |
| action_mask | [B, n] the legal choices, where `info` or an entry `action_mask` of an observation tells them |
"""

import copy
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lifelong.action_spaces import (
    Masks,
    as_actions,
    as_rows,
    from_zero,
    no_action,
    of_slot,
    previous_entry,
    validate_space,
)
from lifelong.agents.episode_ends import final_observation
from lifelong.agents.history import space_with_history
from lifelong.agents.vector_gate import check_observation, check_reset, check_step
from lifelong.hashed_words import hash_text, without_text
from lifelong.mask_entry import at_path, mask_path

__all__ = ["HistoryWrapper"]

_ALLOWED = (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)


class HistoryWrapper(VectorWrapper):
    """Add previous action, previous reward and episode starts to observations, and start flags to `info`.

    Texts are given as hashed words, see `lifelong/hashed_words.py`.

    With `AutoresetMode.DISABLED` the wrapper resets the environments whose episodes ended, by `reset_mask`.

    Args:
        env: with actions of any supported space; what is chosen is given from 0 here, whatever the space's `start`.
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
        validate_space(action_space, "env")
        self._own_actions, self._actions, self._read_mask = action_space, from_zero(action_space), Masks(action_space)
        self._masked = self._read_mask.size > 0
        self._mask_path = mask_path(env.single_observation_space, action_space)
        self._read = without_text(env.single_observation_space)
        if history:
            self.single_observation_space = space_with_history(self._read, action_space)
            self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin new lives in all slots; see `VectorEnv.reset`."""
        return self._begin(*check_reset(self.env, self.env.reset(seed=seed, options=options)))

    def begin(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Begin new lives in all slots from what `reset` of the wrapped environment returned.

        Args:
            observation: [B] of the wrapped environment, just reset.
            info: of the same reset.

        Raises:
            ValueError: if it is not of the environment's space.
        """
        check_observation(self.env, observation)
        return self._begin(observation, info)

    def _begin(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        B = self.num_envs
        self._action, self._reward = np.repeat(no_action(self._actions)[None], B, 0), np.zeros(B)
        self._episode_start, self._steps = np.ones(B, np.bool_), 0
        self._episode, self._length, self._return = np.zeros(B, np.int64), np.zeros(B, np.int64), np.zeros(B)
        return self._with_history(observation), self._flags(np.ones(B, np.bool_)) | self._masks(observation, info)

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step all environments.

        Args:
            actions: [B, ...], nested as the action space is; what is chosen counts from 0.

        Returns:
            Observations, rewards [B], terminated [B], truncated [B] and `info`; where an episode ended the observation
            is the next one's first.

        Raises:
            ValueError: if the environment hands over something else; see `vector_gate.py`.
        """
        rows = as_rows(self._actions, actions, self.num_envs).copy()  # environments may write to their actions
        taken = as_actions(self._own_actions, rows)
        observation, reward, terminated, truncated, info = check_step(self.env, self.env.step(taken))
        ended = terminated | truncated
        self._action, self._reward, self._episode_start = rows, np.array(reward), np.zeros_like(ended)
        self._steps, self._length, self._return = self._steps + 1, self._length + 1, self._return + reward
        extra: dict[str, Any] = self._masks(observation, info)
        if ended.any():
            if self.autoreset_mode == AutoresetMode.DISABLED:
                final = copy.deepcopy(observation)
                observation, begun = check_reset(self.env, self.env.reset(options={"reset_mask": ended}))
                fresh = self._masks(observation, begun)
                if fresh or extra:
                    everything = np.ones((self.num_envs, self._read_mask.size), np.bool_)
                    now, new = (masks.get("action_mask", everything) for masks in (extra, fresh))
                    extra["action_mask"] = np.where(ended[:, None], new, now)
            else:
                final = final_observation(self.env, observation, info) if truncated.any() else None
            if truncated.any():
                check_observation(self.env, final)
                extra["final_obs"] = self._with_history(final)
            extra["episodes"] = self._end(ended)
        self._episode_start = ended
        return self._with_history(observation), reward, terminated, truncated, self._flags(np.zeros_like(ended)) | extra

    def _masks(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        """Return the entry `action_mask` of `info`; none where no environment says what is legal."""
        if not self._masked:
            return {}
        if self._mask_path is not None:
            return {"action_mask": self._read_mask.read_batch(at_path(observation, self._mask_path), self.num_envs)}
        if "action_mask" not in info:
            return {}
        masks, present = info["action_mask"], info.get("_action_mask", np.ones(self.num_envs, np.bool_))
        legal = np.ones((self.num_envs, self._read_mask.size), np.bool_)
        for slot in np.flatnonzero(present):
            legal[slot] = self._read_mask.read(of_slot(masks, int(slot)))
        return {"action_mask": legal}

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
        observation = hash_text(self._read, copy.deepcopy(observation))  # some write over what they returned
        if not self.history:
            return observation
        return {
            "observation": observation,
            "previous_action": previous_entry(self._actions, self._action),
            "previous_reward": self._reward[:, None].astype(np.float32),
            "episode_start": self._episode_start[:, None].astype(np.float32),
        }

    def _flags(self, life_start: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "episode_start": self._episode_start | life_start,
            "task_start": life_start.copy(),
            "life_start": life_start,
        }
