"""Success of MiniGrid's and BabyAI's episodes: they end well where they terminate with a reward above 0."""

from typing import Any

import gymnasium

__all__ = ["SuccessInfo"]


class SuccessInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrapper that adds `info["success"]`, 1 in a step that terminates with a reward above 0, unless there is one.

    Args:
        env: of MiniGrid or BabyAI, without drifts of rewards.
    """

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, {"success": float(terminated and float(reward) > 0)} | info
