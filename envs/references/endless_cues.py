"""Reference policies of EndlessCues, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing |
| within | the cue of this episode |
| cross | the last cues and their answers, as many as the longest lag needs |
| oracle | the right answer |
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.policies import LearningPolicy, Policy, learner_policies
from lifelong.envs.streams.endless_cues import EndlessCues

__all__ = ["LastCues", "endless_cues_policies"]

Ints = NDArray[np.int64]


def endless_cues_policies(stream: EndlessCues) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    return learner_policies(stream, LastCues, stream.right_answers)


class LastCues(LearningPolicy):
    """Keep the last cues with their answers, and give the answer of the same cue; 0 where there is none.

    Args:
        stream: whose numbers are looked at, and nothing else.
        wiped: whether all is forgotten at every episode's end.
        number: of cues that are kept; None is as many as are asked for.
    """

    def __init__(self, stream: EndlessCues, *, wiped: bool = False, number: int | None = None) -> None:
        super().__init__(wiped=wiped)
        kept = int(stream.lags[-1]) + 1 if number is None else number
        self.cues = np.full((stream.num_envs, kept, stream.size), np.nan, np.float32)  # the last one first
        self.right = np.zeros((stream.num_envs, kept), np.int64)

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return the next answers."""
        self.cues[self.resets(obs, life_start)] = np.nan
        observation, everyone = obs["observation"], np.arange(life_start.size)
        new = observation["go"][:, 0] == 0
        self.cues[new] = np.roll(self.cues[new], 1, 1)
        self.right[new] = np.roll(self.right[new], 1, 1)
        self.cues[new, 0], self.right[new, 0] = observation["cue"][new], observation["taught"][new]
        same = (self.cues == observation["cue"][:, None]).all(2)
        return np.where(same.any(1), self.right[everyone, same.argmax(1)], 0)
