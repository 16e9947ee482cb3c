"""Reference policies of EndlessTMaze, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing |
| memoryless | the way to the junctions, where it turns left |
| first signal | the first signal of the episode, which it keeps |
| within | the last signal |
| cross | the same: nothing else is worth remembering |
| oracle | the right turn |
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.certificate import MEMORYLESS
from lifelong.envs.references.policies import LearningPolicy, Policy, learner_policies
from lifelong.envs.streams.endless_t_maze import FORWARD, LEFT, EndlessTMaze

__all__ = ["Turning", "endless_t_maze_policies"]

Ints = NDArray[np.int64]


def endless_t_maze_policies(stream: EndlessTMaze) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    policies = learner_policies(stream, Turning, lambda: np.where(stream.to_go() == 0, stream.right_turns(), FORWARD))
    return policies | {
        MEMORYLESS: lambda: Turning(stream, keeps="none"),
        "first signal": lambda: Turning(stream, keeps="first", wiped=True),
    }


class Turning(LearningPolicy):
    """Walk to the junctions and turn as a signal said.

    Args:
        stream: whose number of lives is looked at, and nothing else.
        wiped: whether all is forgotten at every episode's end.
        keeps: which signal is kept: the last, the first, or none; without one it turns left.
    """

    def __init__(
        self, stream: EndlessTMaze, *, wiped: bool = False, keeps: Literal["last", "first", "none"] = "last"
    ) -> None:
        super().__init__(wiped=wiped)
        self.keeps, self.signal = keeps, np.zeros(stream.num_envs, np.int64)

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return the next actions."""
        self.signal[self.resets(obs, life_start)] = 0
        shown = obs["observation"]["signal"]
        noted = {"last": shown > 0, "first": self.signal == 0, "none": np.zeros_like(life_start)}[self.keeps]
        self.signal = np.where(noted, shown, self.signal)
        turn = np.where(self.signal > 0, self.signal, LEFT)
        return np.where(obs["observation"]["position"][:, 0] >= 1, turn, FORWARD)
