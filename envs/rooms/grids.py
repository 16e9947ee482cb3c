"""A batch of grids: its arrays, resets, steps and observations, without lives or schedules."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.rooms import grid
from lifelong.envs.rooms.levels import COLOURS, FAMILIES
from lifelong.envs.rooms.tasks import RoomsTask

__all__ = ["Grids", "Level"]

Ints = NDArray[np.int64]


class Level(NamedTuple):
    """State of one grid."""

    cells: NDArray[np.uint8]
    """[height, width] codes as in `grid`."""
    x: int
    """Column of the agent, from the west."""
    y: int
    """Row of the agent, from the north."""
    direction: int
    """0 east, 1 south, 2 west, 3 north."""
    carried: int = 0
    """Code of the carried object, 0 for none."""
    mission: int = COLOURS
    """Colour of the ball to be picked up, or 6."""


class Grids:
    """Batch of grids, each with a task of its own that may change from episode to episode.

    Args:
        num_envs: B.
        tasks: N tasks.
    """

    def __init__(self, num_envs: int, tasks: Sequence[RoomsTask]) -> None:
        self.tasks = tuple(tasks)
        self.stride = max(task.width for task in tasks) + grid.MARGIN
        rows = max(task.height for task in tasks) + 2 * grid.MARGIN
        self.cells = np.zeros((num_envs, rows * self.stride + grid.MARGIN), np.uint8)
        self.carried = np.zeros(num_envs, np.uint8)
        self.at, self.direction, self.mission = (np.zeros(num_envs, np.int64) for _ in range(3))
        self._words = np.zeros((num_envs, grid.WORDS), np.dtype("<u4"))
        self.image = _image(self._words)
        self._recipes = np.array([(t.width, t.height, *t.settings) for t in tasks])
        self._family = np.array([t.family for t in tasks])
        self._families = tuple(dict.fromkeys(t.family for t in tasks))
        self._rules = np.array([(grid.ENDINGS[t.ending], t.max_steps, t.see_through_walls) for t in tasks])
        self.task, self.ending, self._limit = (np.zeros(num_envs, np.int64) for _ in range(3))
        self._clear = np.zeros(num_envs, np.bool_)
        self.ahead, self._view = grid.steps_ahead(self.stride), grid.views(self.stride)

    def bounds(self) -> dict[str, tuple[Any, Any]]:
        """Return the least and the largest value of what an episode is made of, by name, for positions from files.

        An agent stands in the largest grid, around which there are walls: its view never leaves the array.
        """
        margin, stride, wall = grid.MARGIN, self.stride, 8 * grid.WALL + grid.GREY
        low = np.full(self.cells.shape[1], wall, np.uint8)
        high = low.copy()
        rows = [cells[:-margin].reshape(-1, stride)[margin:-margin, margin:] for cells in (low, high)]
        rows[0][...], rows[1][...] = grid.NOTHING, 8 * grid.LOCKED + grid.GREY
        first, last = margin * stride + margin, self.cells.shape[1] - margin - margin * stride - 1
        return {
            "cells": (low, high), "at": (first, last), "direction": (0, 3), "mission": (0, COLOURS),
            "carried": (grid.NOTHING, 8 * grid.LOCKED + grid.GREY),
        }  # fmt: skip

    def begin(self, slots: Ints, tasks: Ints, seeds: Ints) -> None:
        """Begin episodes.

        Args:
            slots: [n].
            tasks: [n] task of each slot.
            seeds: [n] of the levels.
        """
        if len(self._families) == 1:
            self._draw(self._families[0], slots, tasks, seeds)
        else:
            for family in self._families:
                some = np.flatnonzero(self._family[tasks] == family)
                if some.size:
                    self._draw(family, slots[some], tasks[some], seeds[some])
        self._enter(slots, tasks)

    def _draw(self, family: str, slots: Ints, tasks: Ints, seeds: Ints) -> None:
        """Draw levels of one family."""
        FAMILIES[family]((
            slots, seeds, self._recipes[tasks], self.stride,
            self.cells, self.at, self.direction, self.carried, self.mission,
        ))  # fmt: skip

    def load(self, slot: int, task: int, level: Level) -> None:
        """Begin an episode in a given level."""
        height, width = level.cells.shape
        self.cells[slot] = 8 * grid.WALL + grid.GREY
        rows = self.cells[slot, : -grid.MARGIN].reshape(-1, self.stride)
        rows[grid.MARGIN : grid.MARGIN + height, grid.MARGIN : grid.MARGIN + width] = level.cells
        self.at[slot] = (grid.MARGIN + level.y) * self.stride + grid.MARGIN + level.x
        self.direction[slot], self.carried[slot], self.mission[slot] = level.direction, level.carried, level.mission
        self._enter(np.array([slot]), np.array([task]))

    def level(self, slot: int) -> Level:
        """Return the state of a slot."""
        task = self.tasks[self.task[slot]]
        y, x = divmod(int(self.at[slot]), self.stride)
        rows = self.cells[slot, : -grid.MARGIN].reshape(-1, self.stride)
        cells = rows[grid.MARGIN : grid.MARGIN + task.height, grid.MARGIN : grid.MARGIN + task.width].copy()
        place = x - grid.MARGIN, y - grid.MARGIN
        return Level(cells, *place, int(self.direction[slot]), int(self.carried[slot]), int(self.mission[slot]))

    def step(self, actions: Ints, steps: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Step all grids and return reward, terminated and truncated, [B] each.

        Args:
            actions: [B] in 0 to 6.
            steps: [B] of these episodes so far.
        """
        B = actions.size
        reward, terminated, truncated = np.empty(B), np.empty(B, np.bool_), np.empty(B, np.bool_)
        grid.advance(
            0, B, actions, self.cells, self.at, self.direction, self.carried, steps, self.ending, self._limit,
            self._clear, self.ahead, self._view, reward, terminated, truncated, self._words,
        )  # fmt: skip
        return reward, terminated, truncated

    def _enter(self, slots: Ints, tasks: Ints) -> None:
        self.task[slots] = tasks
        self.ending[slots], self._limit[slots], self._clear[slots] = self._rules[tasks].T
        self.look(slots)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the images of a copy a view of its own words again."""
        vars(self).update(state)
        self.image = _image(self._words)

    def look(self, slots: Ints) -> None:
        """Update the observations of some slots."""
        grid.look(slots, self.cells, self.at, self.direction, self.carried, self._clear, self._view, self._words)


def _image(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the images [B, 7, 7, 3] as a view of the words that the compiled loops write."""
    return words.view(np.uint8)[:, : 3 * grid.SIDE**2].reshape(len(words), grid.SIDE, grid.SIDE, 3)
