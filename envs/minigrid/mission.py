"""Missions of MiniGrid and BabyAI as the indices of their words.

A word that is not in `WORDS` takes three places: 1, and its bucket, one of 54² = 2,916, as two digits. So missions of
anybody's levels are told apart, in the same space as MiniGrid's own:

    "fetch the unicorn" -> [index of fetch, index of the, 1, d1(unicorn), d2(unicorn), 0, ...],  d = 2 ... 55
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from minigrid.core.mission import MissionSpace
from numpy.typing import NDArray

from lifelong.hashed_words import bucket

__all__ = ["LONGEST", "WORDS", "MissionWords", "read", "varies"]

_ALL = (
    ", a after and at avoid ball behind blue box door end fetch find from front get go goal green grey "
    "hallway in key lava left matching must near next object of on open opening pick purple put reach red "
    "right room rooms square the then to traverse unlock up use yellow you your"
)
WORDS = tuple(_ALL.split())
"""Vocabulary of the missions of MiniGrid and BabyAI 3; a word's index is its place here plus 2."""
LONGEST = 72
"""Length of a mission in words; four joined instructions of BabyAI fit."""

_NUMBER = {word: number for number, word in enumerate(WORDS, 2)}
_UNKNOWN = 1  # 0 is no word


def read(mission: str) -> NDArray[np.int64]:
    """Return the indices of a mission's words, [LONGEST]: 0 after its end, three for a word that is not in `WORDS`."""
    words = mission.lower().replace(",", " , ").split()[:LONGEST]
    found = [number for word in words for number in ([_NUMBER[word]] if word in _NUMBER else _spelled(word))][:LONGEST]
    numbers = np.zeros(LONGEST, np.int64)
    numbers[: len(found)] = found
    return numbers


def _spelled(word: str) -> list[int]:
    """Return 1 and the two digits of an unknown word's bucket."""
    high, low = divmod(bucket(word, len(WORDS) ** 2), len(WORDS))
    return [_UNKNOWN, 2 + high, 2 + low]


def varies(space: spaces.Space[Any]) -> bool:
    """Return whether a mission may differ between episodes."""
    return isinstance(space, MissionSpace) and (
        type(space) is not MissionSpace or getattr(space, "ordered_placeholders", None) is not None
    )


class MissionWords(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Wrapper that observes `mission` as the indices of its words.

    Args:
        env: of MiniGrid or BabyAI.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        entries: dict[str, Any] = dict(env.observation_space.spaces)  # type: ignore[attr-defined]
        entries["mission"] = spaces.MultiDiscrete([len(WORDS) + 2] * LONGEST)
        self.observation_space = spaces.Dict(entries)

    def observation(self, observation: Any) -> Any:
        """Return the observation with its mission as indices."""
        return observation | {"mission": read(observation["mission"])}
