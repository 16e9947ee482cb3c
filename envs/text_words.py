"""Texts of any environment as hashed words."""

from typing import Any

import gymnasium
from gymnasium import spaces

from lifelong.hashed_words import hash_text, is_text, without_text

__all__ = ["TextWords", "has_text"]


class TextWords(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Wrapper that observes every text as hashed words, see `lifelong/hashed_words.py`.

    Args:
        env: with `Text`, or another space of strings, somewhere in its observations.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = without_text(env.observation_space)

    def observation(self, observation: Any) -> Any:
        """Return the observation with its texts hashed."""
        return hash_text(self.observation_space, observation)


def has_text(space: spaces.Space[Any], besides: str | None = None) -> bool:
    """Return whether a space, or an entry of a Dict or Tuple, is one of strings.

    Args:
        space: of observations.
        besides: an entry that does not count.
    """
    if isinstance(space, spaces.Dict):
        return any(has_text(inner) for name, inner in space.spaces.items() if name != besides)
    if isinstance(space, spaces.Tuple):
        return any(has_text(inner) for inner in space.spaces)
    return is_text(space)
