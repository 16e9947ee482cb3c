"""Wrapper that tells the mask among the observations as `info` does."""

import copy
from typing import Any

import gymnasium

__all__ = ["MaskInfo"]


class MaskInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Copy the observation's entry `action_mask` to `info`."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return obs, info | {"action_mask": copy.deepcopy(obs["action_mask"])}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, info | {"action_mask": copy.deepcopy(obs["action_mask"])}
