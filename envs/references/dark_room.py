"""Reference policies of DarkRoom, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing |
| within | a tour that visits a new cell with every step; it begins the same one again in every episode |
| cross | which tours were in vain on this map, and the goal where one was not |
| oracle | the goal |
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.policies import LearningPolicy, Policy, learner_policies
from lifelong.envs.streams.dark_room import DarkRoom, tours
from lifelong.envs.streams.grid_moves import walk_toward

__all__ = ["Sweep", "dark_room_policies"]


def dark_room_policies(stream: DarkRoom) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    return learner_policies(stream, Sweep, lambda: walk_toward(stream.place, stream.goals()))


class Sweep(LearningPolicy):
    """Search by one tour per episode until the goal is found; then walk to it.

    Args:
        stream: whose numbers are looked at, and nothing else.
        wiped: whether all is forgotten at every episode's end.
    """

    def __init__(self, stream: DarkRoom, *, wiped: bool = False) -> None:
        super().__init__(wiped=wiped)
        self.tours = np.array(tours(stream.size, stream.max_steps)[0])
        self.in_vain = np.zeros((stream.num_envs, stream.maps), np.int64)
        self.goal = np.full((stream.num_envs, stream.maps, 2), -1)
        self.steps = np.zeros(stream.num_envs, np.int64)  # of this episode

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the next moves."""
        started = obs["episode_start"][:, 0] > 0
        forgotten = self.resets(obs, life_start)
        self.in_vain[forgotten], self.goal[forgotten] = 0, -1
        self.steps = np.where(started, 0, self.steps + 1)
        observation, everyone = obs["observation"], np.arange(life_start.size)
        over, rewarded = observation["over"][:, 0] > 0, obs["previous_reward"][:, 0] > 0
        here = everyone, observation["map"]
        self.goal[here] = np.where((over & rewarded)[:, None], observation["place"], self.goal[here])
        self.in_vain[here] += over & ~rewarded
        known = self.goal[here][:, 0] >= 0
        tour = np.minimum(self.in_vain[here], len(self.tours) - 1)  # past the last only when it no longer matters
        move = self.tours[tour, np.minimum(self.steps, self.tours.shape[1] - 1)]
        return np.where(known & ~over, walk_toward(observation["place"], self.goal[here]), move)
