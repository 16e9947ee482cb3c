"""DarkRoom: search for an unobserved goal that stays in its cell for many episodes.

A room of n x n cells; the agent starts in its centre, sees where it is and on which map, and moves north, east, south
or west (into a wall: not at all). One cell, never the centre, is the goal of the map: to step on it pays 1 and ends the
episode; after T steps it ends with nothing. A policy that forgets can visit T new cells at most, so it gets
T / (n^2 - 1) at best. One that remembers its life searches where it has not been, and then knows the way.

Until the goal is found every life has seen the same: nothing. So the best search is a list of tours, one for each
episode, and what it expects of the m-th episode of a map is the share of cells the first m tours visit (`cross` of a
row). `tours` finds such a list by beam search: far cells first, since later tours walk to them in vain. No tour can
visit more than T new cells, so the m-th share is at most min(1, m T / (n^2 - 1)); with the default numbers a visit of
20 episodes gets 0.8975, and at most 0.9.

| entry | meaning |
| --- | --- |
| place | [2] x and y of the agent's cell |
| map | its number |

Hidden: the goal of each map, drawn for every life. The tasks of this stream are its maps: with the schedule `Block(20)`
each is met for 20 episodes and never again, with `Cyclic` or `RandomHazard` they recur. Rows have the cell in which the
episode ended as `answer`, y n + x.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers
from lifelong.envs.schedules import Block, Schedule
from lifelong.envs.stream import Boundary, References
from lifelong.envs.streams.grid_moves import MOVES
from lifelong.envs.streams.hidden_maps import HiddenMaps

__all__ = ["DarkRoom", "random_walk_success", "tours"]

Ints = NDArray[np.int64]
_BEAM = 100  # tours that are held in view
_FAR = 0.05  # what a new cell counts more for every step it is from the centre


class DarkRoom(HiddenMaps):
    """Lives in dark rooms, natively batched.

    Args:
        num_envs: B, lives side by side.
        size: n, cells on a side; odd, so that there is a centre.
        max_steps: T, until an episode ends with nothing; enough for every corner.
        maps: K, how many a life has.
        schedule: which map comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of changes of map, besides its number.
        seed: of the lives.

    Raises:
        ValueError: on numbers that make no room.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        size: int = 9,
        max_steps: int = 16,
        maps: int = 4,
        schedule: Schedule = Block(20),  # noqa: B008  frozen
        life_episodes: int | None = 80,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        if size < 3 or size % 2 == 0:
            raise ValueError(f"size must be odd and at least 3: size={size}")
        if max_steps < size - 1:
            raise ValueError(f"max_steps must be at least size - 1, the way to a corner: {max_steps=}, {size=}")
        self._chances = tours(size, max_steps)[1]
        self._centre = size // 2
        references = References(
            random=random_walk_success(size, max_steps), within=min(1.0, max_steps / (size**2 - 1)), oracle=1.0
        )
        super().__init__(
            num_envs,
            size=size,
            max_steps=max_steps,
            maps=maps,
            references=references,
            entries={},
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self.place[:] = self._centre
        self._goals = np.zeros((num_envs, maps, 2), np.int64)

    def goals(self) -> Ints:
        """Return [B, 2] the goals of the present maps."""
        return self._goals[self._everyone, self.base_task]

    def _begin_lives(self, slots: Ints) -> None:
        n = self.size
        cell = integers(n * n - 1, self.seed, Purpose.RULE, self.life[slots, None], np.arange(self.maps))
        cell += cell >= n * n // 2  # all but the centre
        self._goals[slots] = np.stack([cell % n, cell // n], -1)

    def _begin_episodes(self, slots: Ints) -> None:
        super()._begin_episodes(slots)
        self.place[slots] = self._centre

    def _try(self, slots: Ints, actions: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        place = np.clip(self.place[slots] + MOVES[actions], 0, self.size - 1)
        found = (place == self.goals()[slots]).all(1)
        return self._arrive(slots, place, found)

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        met = self.meetings_of(slots)
        return super()._episode_info(slots) | {"cross": self._chances[np.minimum(met, self._chances.size - 1)]}


@lru_cache
def tours(size: int, max_steps: int) -> tuple[tuple[tuple[int, ...], ...], NDArray[np.float64]]:
    """Return tours from the centre that visit all cells together, many new ones each, and the shares visited so far.

    Args:
        size: n, cells on a side.
        max_steps: T, moves of a tour.

    Returns:
        The moves of each tour, and [tours] the share of the n^2 - 1 cells that it and those before have visited.
    """
    n, centre = size, size * size // 2
    moves = [(dx + n * dy, move) for move, (dx, dy) in enumerate(MOVES.tolist())]
    ways = [
        [(cell + step, move) for step, move in moves if _inside(cell, move, n)] for cell in range(n * n)
    ]  # from each cell
    gain = [1 + _FAR * (abs(cell % n - n // 2) + abs(cell // n - n // 2)) for cell in range(n * n)]
    visited, made, shares = 1 << centre, [], []  # cells as bits
    while visited.bit_count() < n * n:
        beam: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {(centre, visited): (0.0, ())}
        for _ in range(max_steps):
            longer: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
            for (cell, been), (value, path) in beam.items():
                for there, move in ways[cell]:
                    worth = value if been >> there & 1 else value + gain[there]
                    end = there, been | 1 << there
                    if end not in longer or longer[end][0] < worth:
                        longer[end] = worth, (*path, move)
            beam = dict(sorted(longer.items(), key=lambda item: -item[1][0])[:_BEAM])
        (_, visited), (_, path) = max(beam.items(), key=lambda item: item[1][0])
        made.append(path)
        shares.append((visited.bit_count() - 1) / (n * n - 1))
    return tuple(made), np.array(shares)


@lru_cache
def random_walk_success(size: int, max_steps: int) -> float:
    """Return how probable it is that uniform moves find the goal, exactly: the mean over all goals.

    Args:
        size: n, cells on a side.
        max_steps: T.
    """
    n, centre = size, size * size // 2
    step = np.zeros((n * n, n * n))
    for cell in range(n * n):
        for move, (dx, dy) in enumerate(MOVES.tolist()):
            step[cell, cell + dx + n * dy if _inside(cell, move, n) else cell] += 0.25
    away = np.zeros((n * n, n * n))  # of each goal, where those are that have not found it
    away[:, centre] = 1.0
    for _ in range(max_steps):
        away = away @ step
        np.fill_diagonal(away, 0.0)
    return float(1 - np.delete(away, centre, 0).sum(1).mean())


def _inside(cell: int, move: int, n: int) -> bool:
    x, y = cell % n + int(MOVES[move, 0]), cell // n + int(MOVES[move, 1])
    return 0 <= x < n and 0 <= y < n
