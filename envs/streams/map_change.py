"""MapChange: navigation through four rooms whose hidden openings and goal change every few episodes.

A square of n x n cells with a wall around it and a cross of walls inside; each of the cross's four arms has one
opening. The agent sees the 5 x 5 cells around it, through walls too, and moves north, east, south or west (into a wall:
not at all). To step on the goal pays 1 and ends the episode; after T steps it ends with nothing. An episode starts at
most T steps from the goal, so who knows the map is always in time (`oracle`), and who has to search for goal and
openings often is not. Openings and goal belong to the map; the start is drawn for every episode, so it does not help
to repeat moves.

No closed form is known here. `within` and `cross` are what the same explorer gets, wiped at every episode's end and
not: it walks to the nearest cell where the goal may be, and takes an unseen arm to be open everywhere. Better policies
may exist. What they and random moves get in the default rooms was measured, to 0.008 (`_MEASURED`).

| entry | meaning |
| --- | --- |
| view | [5, 5] cells around the agent, rows from north to south: 0 floor, 1 wall or beyond it, 2 goal |
| place | [2] x and y of the agent's cell |
| map | its number |

Hidden: openings and goal of each map, drawn for every life. The tasks of this stream are its maps, as in DarkRoom. Rows
have the cell in which the episode ended as `answer`, y n + x.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers, uniform
from lifelong.envs.schedules import Block, Schedule
from lifelong.envs.stream import Boundary, References
from lifelong.envs.streams.grid_moves import MOVES, distances
from lifelong.envs.streams.hidden_maps import HiddenMaps
from lifelong.envs.task import Retention

__all__ = ["FLOOR", "GOAL", "RADIUS", "WALL", "MapChange", "arms", "four_rooms"]

Ints = NDArray[np.int64]
FLOOR, WALL, GOAL = range(3)
RADIUS = 2  # of the view
_MEASURED = {"random": 0.0346, "within": 0.579, "cross": 0.976}


class MapChange(HiddenMaps):
    """Lives in four rooms, natively batched.

    Args:
        num_envs: B, lives side by side.
        size: n, cells on a side, walls included; odd, so that the cross stands in the middle.
        max_steps: T, until an episode ends with nothing.
        nearest: how many steps it is from a start to the goal at least; at most n - 3, which every goal has, and T.
        maps: K, how many a life has.
        schedule: which map comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of changes of map, besides its number.
        seed: of the lives.

    Raises:
        ValueError: on numbers that make no map.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        size: int = 11,
        max_steps: int = 10,
        nearest: int = 3,
        maps: int = 4,
        schedule: Schedule = Block(20),  # noqa: B008  frozen
        life_episodes: int | None = 80,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        if size < 5 or size % 2 == 0:
            raise ValueError(f"size must be odd and at least 5: size={size}")
        if not 1 <= nearest <= size - 3:
            raise ValueError(f"nearest must lie in 1 to {size - 3}, size - 3: nearest={nearest}")
        if max_steps < nearest:
            raise ValueError(f"max_steps must be at least nearest: max_steps={max_steps}, nearest={nearest}")
        self.nearest = nearest
        usual = (size, max_steps, nearest, schedule) == (11, 10, 3, Block(20))
        references = References(**_MEASURED if usual else {}, oracle=1.0)
        super().__init__(
            num_envs,
            size=size,
            max_steps=max_steps,
            maps=maps,
            references=references,
            entries={"view": spaces.MultiDiscrete(np.full((2 * RADIUS + 1, 2 * RADIUS + 1), 3))},
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self.place[:] = 1
        self._cells = np.zeros((num_envs, maps, size, size), np.int8)  # [y, x]
        self._away = np.zeros((num_envs, maps, size, size), np.int16)  # steps to the goal
        self._rooms = np.argwhere(four_rooms(size) == FLOOR)
        self._window = np.arange(-RADIUS, RADIUS + 1)

    def cells(self) -> NDArray[np.int8]:
        """Return [B, n, n] the present maps, [y, x]."""
        return self._cells[self._everyone, self.base_task]

    def shortest_moves(self) -> Ints:
        """Return [B] moves on shortest ways to the goal."""
        there = self.place[:, None] + MOVES
        slot, task = self._everyone[:, None], self.base_task[:, None]
        moves: Ints = self._away[slot, task, there[..., 1], there[..., 0]].argmin(1)
        return moves

    @property
    def retention(self) -> Retention | None:
        """The memory index by lag where references were measured, in the default rooms; else the gain of visits."""
        return "gain" if np.isnan(self.tasks[0].references.cross) else "index"

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        """Return `cross` row by row too: a map that is met first must be explored, as without a memory."""
        within, cross = self.tasks[0].references.within, self.tasks[0].references.cross
        again = (20 * cross - within) / 19  # cross is the mean over the 20 episodes of a map
        return super()._episode_info(slots) | {"cross": np.where(self.meetings_of(slots) > 0, again, within)}

    def _begin_lives(self, slots: Ints) -> None:
        life, n = self.life[slots, None], self.size
        maps = np.arange(self.maps)
        cells = np.broadcast_to(four_rooms(n), (slots.size, self.maps, n, n)).astype(np.int8)
        here = np.arange(slots.size)[:, None], maps
        for number, arm in enumerate(arms(n)):
            y, x = arm[integers(len(arm), self.seed, Purpose.RULE, life, maps, number)].transpose(2, 0, 1)
            cells[*here, y, x] = FLOOR
        goal = integers(len(self._rooms), self.seed, Purpose.RULE, life, maps, 4)
        y, x = self._rooms[goal].transpose(2, 0, 1)
        cells[*here, y, x] = GOAL
        self._cells[slots] = cells
        self._away[slots] = distances(cells != WALL, cells == GOAL)

    def _begin_episodes(self, slots: Ints) -> None:
        super()._begin_episodes(slots)
        away = self._away[slots, self.base_task[slots]].reshape(slots.size, -1)
        count = ((away >= self.nearest) & (away <= self.max_steps)).cumsum(1)
        drawn = uniform(self.seed, Purpose.EPISODE, self.life[slots], self.episode[slots], 0)
        cell = (count <= (drawn * count[:, -1])[:, None]).sum(1)
        self.place[slots] = np.stack([cell % self.size, cell // self.size], -1)

    def _try(self, slots: Ints, actions: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        task, there = self.base_task[slots], self.place[slots] + MOVES[actions]
        cell = self._cells[slots, task, there[:, 1], there[:, 0]]
        place = np.where((cell == WALL)[:, None], self.place[slots], there)
        return self._arrive(slots, place, cell == GOAL)

    def _show(self) -> dict[str, NDArray[Any]]:
        around = (self.place[:, None] + self._window[:, None])[..., ::-1].transpose(2, 0, 1)  # y and x, [B, 5] each
        inside = np.clip(around, 0, self.size - 1)  # beyond the outer wall there is more of it
        view = self.cells()[self._everyone[:, None, None], inside[0][:, :, None], inside[1][:, None]]
        return {"view": view.astype(np.int64)} | super()._show()


def four_rooms(size: int) -> NDArray[np.int8]:
    """Return [n, n] the map without openings and goal, as FLOOR and WALL."""
    cells = np.full((size, size), FLOOR, np.int8)
    for line in (0, size // 2, size - 1):
        cells[line] = cells[:, line] = WALL
    return cells


def arms(size: int) -> list[Ints]:
    """Return the cells [n // 2 - 1, 2] (y, x) of each of the cross's arms, where openings may be."""
    middle, near, far = size // 2, np.arange(1, size // 2), np.arange(size // 2 + 1, size - 1)
    return [
        np.stack([np.full_like(along, middle), along][:: 1 if level else -1], -1)
        for level in (True, False)
        for along in (near, far)
    ]
