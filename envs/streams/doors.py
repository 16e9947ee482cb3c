"""Doors: a hidden map from key colours to doors, with one try per episode.

A hall of n columns and some rows, with a door above each column; the agent starts in a random column of the lowest row,
holds a key of one of K colours, and moves north, east, south or west (into a wall: not at all). To move north from the
uppermost row is to try that column's door, and ends the episode: reward 1 if it is the one that the key opens, else 0.
When time runs out it ends with nothing. So it is a table from colours to places: what CuedRecall asks with a choice is
asked here with a walk.

A policy whose memory is wiped between episodes gets 1/n; one that remembers its life strikes out a door with each
failure, and is right with probability (m + 1) / n, at most 1, where it has met the colour m times before (`cross` of
a row).

| entry | meaning |
| --- | --- |
| place | [2] column and row; row 0 is below the doors |
| colour | of the key |
| tried | the door that was tried, in the last step of an episode; n for none |

Hidden: the door of each colour, drawn for every life; two colours may have the same. The tasks of this stream are its
colours; rows have the door that was tried as `answer`.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers
from lifelong.envs.schedules import Interleaved, Schedule
from lifelong.envs.stream import Boundary, References, Task
from lifelong.envs.streams.grid_moves import MOVES, NORTH
from lifelong.envs.streams.sealed import SealedStream

__all__ = ["Doors", "random_walk_tries"]

Ints = NDArray[np.int64]


class Doors(SealedStream):
    """Lives of keys and doors, natively batched.

    Args:
        num_envs: B, lives side by side.
        doors: n, columns of the hall.
        colours: K, keys of a life.
        depth: rows of the hall.
        max_steps: until an episode ends with nothing; enough for the farthest door. None is twice that.
        schedule: which colour comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of changes of colour, besides the colour.
        seed: of the lives.

    Raises:
        ValueError: on numbers that make no hall.
    """

    kept = ("place",)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        doors: int = 4,
        colours: int = 8,
        depth: int = 2,
        max_steps: int | None = None,
        schedule: Schedule = Interleaved(),  # noqa: B008  frozen
        life_episodes: int | None = 96,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        for name, number, least in (("doors", doors, 2), ("colours", colours, 1), ("depth", depth, 1)):
            if number < least:
                raise ValueError(f"{name} must be at least {least}: {name}={number}")
        farthest = doors - 1 + depth
        if max_steps is None:
            max_steps = 2 * farthest
        if max_steps < farthest:
            raise ValueError(f"max_steps must be at least {farthest}, the way to the farthest door: {max_steps=}")
        self.doors, self.colours, self.depth, self.max_steps = doors, colours, depth, max_steps
        tries = random_walk_tries(doors, depth, max_steps)
        references = References(random=tries / doors, within=1 / doors, oracle=1.0)
        super().__init__(
            num_envs,
            entries={
                "place": spaces.MultiDiscrete([doors, depth]),
                "colour": spaces.Discrete(colours),
                "tried": spaces.Discrete(doors + 1),
            },
            actions=4,
            tasks=[Task(f"colour {k}", references) for k in range(colours)],
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self.place = np.zeros((num_envs, 2), np.int64)
        self.position_bounds = {"place": (0, (doors - 1, depth - 1))}
        self._right = np.zeros((num_envs, colours), np.int64)

    def right_doors(self) -> Ints:
        """Return [B] the doors that the present keys open."""
        return self._right[self._everyone, self.base_task]

    def _begin_lives(self, slots: Ints) -> None:
        colour = np.arange(self.colours)
        self._right[slots] = integers(self.doors, self.seed, Purpose.RULE, self.life[slots, None], colour)

    def _begin_episodes(self, slots: Ints) -> None:
        super()._begin_episodes(slots)
        column = integers(self.doors, self.seed, Purpose.EPISODE, self.life[slots], self.episode[slots], 0)
        self.place[slots] = np.stack([column, np.full(slots.size, self.depth - 1)], -1)

    def _try(self, slots: Ints, actions: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        place = self.place[slots]
        tried = (place[:, 1] == 0) & (actions == NORTH)
        self.answer[slots] = np.where(tried, place[:, 0], -1)
        self.place[slots] = np.clip(place + MOVES[actions], 0, (self.doors - 1, self.depth - 1))
        opened = tried & (place[:, 0] == self.right_doors()[slots])
        return opened.astype(np.float64), tried | (self.episode_length[slots] + 1 >= self.max_steps)

    def _show(self) -> dict[str, NDArray[Any]]:
        tried = np.where(self.answer >= 0, self.answer, self.doors)
        return {"place": self.place.copy(), "colour": self.base_task.copy(), "tried": tried}

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        met = self.meetings_of(slots)
        return super()._episode_info(slots) | {"cross": np.minimum((met + 1) / self.doors, 1.0)}


@lru_cache
def random_walk_tries(doors: int, depth: int, max_steps: int) -> float:
    """Return how probable it is that uniform moves try a door in time, exactly.

    Args:
        doors: columns of the hall.
        depth: its rows.
        max_steps: steps there are.
    """
    going_on = np.zeros((doors, depth))  # where those are that have tried none
    going_on[:, -1] = 1 / doors
    for _ in range(max_steps):
        walls = np.pad(going_on, 1, "edge")  # who moves into a wall comes back from it
        walls[:, 0] = 0.0  # but not from beyond the doors
        going_on = (walls[2:, 1:-1] + walls[:-2, 1:-1] + walls[1:-1, 2:] + walls[1:-1, :-2]) / 4
    return float(1 - going_on.sum())
