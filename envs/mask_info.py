"""Wrapper that tells the mask among the observations as `info` does."""

import copy
from typing import Any

import gymnasium

from lifelong.mask_entry import NAME, at_path

__all__ = ["MaskInfo"]


class MaskInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Copy the observation's action mask to `info`.

    Args:
        env: of one life.
        path: keys that lead to the mask in an observation; see `mask_path`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], path: tuple[Any, ...]) -> None:
        super().__init__(env)
        self.path = path

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return obs, info | {NAME: copy.deepcopy(at_path(obs, self.path))}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, info | {NAME: copy.deepcopy(at_path(obs, self.path))}
