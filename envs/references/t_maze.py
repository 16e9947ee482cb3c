"""Reference policies of TMaze, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing |
| memoryless | the way to the junction; it takes the northern arm |
| within | the signal of this episode |
| cross | the same: nothing else is worth remembering |
| oracle | the right arm |
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.certificate import MEMORYLESS
from lifelong.envs.references.policies import LearningPolicy, Policy, learner_policies
from lifelong.envs.streams.grid_moves import EAST, NORTH, SOUTH, WEST
from lifelong.envs.streams.t_maze import TMaze

__all__ = ["SignalFollower", "t_maze_policies"]

Ints = NDArray[np.int64]


def t_maze_policies(stream: TMaze) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    policies = learner_policies(stream, SignalFollower, lambda: _oracle_moves(stream))
    return policies | {MEMORYLESS: lambda: SignalFollower(stream, remembers=False)}


class SignalFollower(LearningPolicy):
    """Walk to the junction, by the signal where it has to be fetched, and into the arm that it named.

    Args:
        stream: whose variant is looked at, and nothing else.
        wiped: whether all is forgotten at every episode's end.
        remembers: whether the signal is remembered at all.
    """

    def __init__(self, stream: TMaze, *, wiped: bool = False, remembers: bool = True) -> None:
        super().__init__(wiped=wiped)
        self.fetches, self.remembers = stream.variant == "active", remembers
        self.signal = np.zeros(stream.num_envs, np.int64)

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return the next moves."""
        self.signal[self.resets(obs, life_start)] = 0
        observation = obs["observation"]
        if self.remembers:
            self.signal = np.where(observation["signal"] > 0, observation["signal"], self.signal)
        first = obs["episode_start"][:, 0] > 0
        along = np.where(first & self.fetches, WEST, EAST)
        return np.where(observation["junction"][:, 0] > 0, np.where(self.signal == 2, SOUTH, NORTH), along)


def _oracle_moves(stream: TMaze) -> Ints:
    """Return the shortest ways into the right arms."""
    arm = np.where(stream.right > 0, SOUTH, NORTH)
    return np.where(stream.place[:, 0] == stream.junction, arm, EAST)
