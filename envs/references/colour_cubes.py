"""Reference policies of ColourCubes, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing |
| memoryless | a round walk over all cells |
| first look | where the cubes were in the episode's first step |
| within | where they are: it rewrites a place whenever a cube jumps |
| cross | the same: nothing else is worth remembering |
| oracle | where they are |
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.certificate import MEMORYLESS
from lifelong.envs.references.policies import LearningPolicy, Policy, learner_policies
from lifelong.envs.streams.colour_cubes import ColourCubes
from lifelong.envs.streams.grid_moves import EAST, NORTH, SOUTH, WEST, walk_toward

__all__ = ["MapKeeper", "RoundWalk", "colour_cubes_policies"]

Ints = NDArray[np.int64]


def colour_cubes_policies(stream: ColourCubes) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""

    def knowing() -> Ints:
        goal = stream.cubes[np.arange(stream.num_envs), stream.target]
        return walk_toward(stream.places(stream.cell), stream.places(goal))

    return learner_policies(stream, MapKeeper, knowing) | {
        MEMORYLESS: lambda: RoundWalk(stream.size),
        "first look": lambda: MapKeeper(stream, wiped=True, rewrites=False),
    }


class MapKeeper(LearningPolicy):
    """Walk to where the cube of the target's colour was last seen.

    Args:
        stream: whose numbers are looked at, and nothing else.
        wiped: whether all is forgotten at every episode's end.
        rewrites: whether places are rewritten when cubes jump.
    """

    def __init__(self, stream: ColourCubes, *, wiped: bool = False, rewrites: bool = True) -> None:
        super().__init__(wiped=wiped)
        self.colours, self.rewrites = stream.colours, rewrites
        self.seen = np.zeros((stream.num_envs, stream.colours, 2), np.int64)

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return the next moves."""
        self.seen[self.resets(obs, life_start)] = 0
        observation, first = obs["observation"], obs["episode_start"][:, 0] > 0
        self.seen[first] = observation["cubes"][first]
        slots = np.flatnonzero(observation["moved"] < self.colours)
        if self.rewrites:
            self.seen[slots, observation["moved"][slots]] = observation["to"][slots]
        return walk_toward(observation["place"], self.seen[np.arange(first.size), observation["target"]])


class RoundWalk:
    """Walk round over all cells of a grid, in a circle; of an odd number of rows the last one is left out.

    Args:
        size: cells on a side.
    """

    def __init__(self, size: int) -> None:
        rows = size - size % 2
        y, x = np.mgrid[:size, :size]
        back = np.where((x > 1) | (y == rows - 1), WEST, SOUTH)  # of every other row; they leave the first column free
        snake = np.where(y % 2 == 1, back, np.where(x < size - 1, EAST, SOUTH))
        self.moves = np.where(x == 0, np.where(y > 0, NORTH, EAST), snake)
        self.moves[rows:] = NORTH

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return the next moves."""
        x, y = obs["observation"]["place"].T
        moves: Ints = self.moves[y, x]
        return moves
