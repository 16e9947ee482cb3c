"""Reference policies of Doors, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing, not even how to walk |
| within | how to walk to a door; it tries the first |
| cross | which doors did not open with this key, and the one that did |
| oracle | the right door |
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.policies import LearningPolicy, Policy, learner_policies
from lifelong.envs.streams.doors import Doors
from lifelong.envs.streams.grid_moves import walk_toward

__all__ = ["Elimination", "doors_policies"]

Ints = NDArray[np.int64]


def doors_policies(stream: Doors) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    return learner_policies(stream, Elimination, lambda: _walk(stream.place, stream.right_doors()))


class Elimination(LearningPolicy):
    """Try the first door that is not ruled out.

    Args:
        stream: whose numbers are looked at, and nothing else.
        wiped: whether all is forgotten at every episode's end.
    """

    def __init__(self, stream: Doors, *, wiped: bool = False) -> None:
        super().__init__(wiped=wiped)
        self.wrong = np.zeros((stream.num_envs, stream.colours, stream.doors), np.bool_)

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return the next moves."""
        self.wrong[self.resets(obs, life_start)] = False
        observation, doors = obs["observation"], np.arange(self.wrong.shape[-1])
        here = np.arange(life_start.size), observation["colour"]
        this = doors == observation["tried"][:, None]  # none where none was tried
        opened = (obs["previous_reward"] > 0) & this.any(1, keepdims=True)
        self.wrong[here] = np.where(opened, ~this, self.wrong[here] | this)
        return _walk(observation["place"], self.wrong[here].argmin(1))


def _walk(place: Ints, door: Ints) -> Ints:
    """Return moves [B] to and through doors."""
    return walk_toward(place, np.stack([door, np.full(door.size, -1)], -1))
