"""ColourCubes: fetch the cube of a colour on a grid where cubes change places; a test of rewriting a map.

An episode begins with a look at all N cubes on a grid of n x n cells. From then on a cube is seen only when it moves:
which one, and where to. In each of K phases one colour is asked for. To step on its cube pays 1/K; the cube then jumps
to a free cell, and the next phase asks for another colour. A phase that takes more than the 2 (n - 1) steps of the
longest way ends with nothing. In every other step, with probability `teleport`, one of the cubes that are not asked for
jumps to a free cell. So who keeps a map of N places and rewrites a place whenever its cube jumps gets 1. A policy
without a memory within the episode can but walk over as many cells as there is time for: about 2 / (n + 1), as there
are n^2 - 1 where the cube may be (`memoryless` of the certificate). Who keeps the first look and rewrites nothing is
`first look` there.

| entry | meaning |
| --- | --- |
| place | [2] x and y of the agent's cell |
| target | colour that is asked for |
| moved | colour whose cube has just jumped; N for none |
| to | [2] x and y of its new cell; n for none |
| cubes | [N, 2] x and y of all cubes in the first step of an episode, n in all others |

Hidden: where the cubes are. Places, jumps and colours are drawn for every episode; nothing lasts from one to the next.
There is one task; `success` of a row is whether all K cubes were fetched.

Source: Shchendrigin et al. 2026, arXiv:2601.15086, whose phases, jumps and reward these are; other than there the whole
grid is shown in the first step only, and later what changes.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers, uniform
from lifelong.envs.schedules import Block, Schedule
from lifelong.envs.stream import Boundary, References, Task, TaskStream
from lifelong.envs.streams.grid_moves import MOVES

__all__ = ["ColourCubes"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_KEPT = ("cell", "cubes", "target", "phase", "phase_step", "fetched", "moved")
_MEASURED = 0.1557  # what random moves get with the usual settings, to .001
_JUMPS, _WHICH, _WHERE, _TARGET = range(4)  # what is drawn in a step


class ColourCubes(TaskStream):
    """Lives among cubes that jump, natively batched.

    Args:
        num_envs: B, lives side by side.
        size: n, cells on a side.
        colours: N, cubes on the grid.
        phases: K, of an episode.
        teleport: probability that a cube jumps in a step.
        schedule: of the tasks, of which there is one.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of changes of task.
        seed: of the lives.

    Raises:
        ValueError: on numbers that make no grid.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        size: int = 6,
        colours: int = 3,
        phases: int = 8,
        teleport: float = 0.1,
        schedule: Schedule = Block(1),  # noqa: B008  frozen
        life_episodes: int | None = 32,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        for name, number, least in (("size", size, 2), ("colours", colours, 2), ("phases", phases, 1)):
            if number < least:
                raise ValueError(f"{name} must be at least {least}: {name}={number}")
        if colours > size**2 - 2:
            raise ValueError(f"colours must leave two cells free: colours={colours}, size={size}")
        if not 0 <= teleport <= 1:
            raise ValueError(f"teleport must lie in [0, 1]: teleport={teleport}")
        self.size, self.colours, self.phases, self.teleport = size, colours, phases, teleport
        self.phase_steps = 2 * (size - 1)
        usual = (size, colours, phases, teleport) == (6, 3, 8, 0.1)
        references = References(random=_MEASURED if usual else float("nan"), within=1.0, cross=1.0, oracle=1.0)
        super().__init__(
            num_envs,
            tasks=[Task("grid", references)],
            observation_space=spaces.Dict(
                {
                    "place": spaces.MultiDiscrete([size, size]),
                    "target": spaces.Discrete(colours),
                    "moved": spaces.Discrete(colours + 1),
                    "to": spaces.MultiDiscrete([size + 1, size + 1]),
                    "cubes": spaces.MultiDiscrete(np.full((colours, 2), size + 1)),
                }
            ),
            action_space=spaces.Discrete(4),
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self.cell, self.target, self.phase, self.phase_step, self.fetched, self.moved = (
            np.zeros(num_envs, np.int64) for _ in range(6)
        )
        self.cubes = np.zeros((num_envs, colours), np.int64)  # cells, y n + x
        self.position_bounds = dict.fromkeys(("cell", "cubes"), (0, size ** 2 - 1)) | {
            "target": (0, colours - 1), "moved": (0, colours), "phase": (0, phases), "fetched": (0, phases),
            "phase_step": (0, self.phase_steps),
        }  # fmt: skip

    def places(self, cells: Ints) -> Ints:
        """Return [..., 2] x and y of cells [...]."""
        return np.stack([cells % self.size, cells // self.size], -1)

    def _begin_episodes(self, slots: Ints) -> None:
        episode = self.life[slots, None], self.episode[slots, None], 0
        order = uniform(self.seed, Purpose.EPISODE, *episode, 4 + np.arange(self.size**2)).argsort(1)
        self.cell[slots], self.cubes[slots] = order[:, 0], order[:, 1 : self.colours + 1]
        self.target[slots] = self._drawn(slots, np.zeros_like(slots), _TARGET, self.colours)
        self.phase[slots] = self.phase_step[slots] = self.fetched[slots] = 0
        self.moved[slots] = self.colours

    def _drawn(self, slots: Ints, step: Ints, what: int, high: int) -> Ints:
        """Return [n] integers below `high`, drawn in a step of the episode."""
        return integers(high, self.seed, Purpose.EPISODE, self.life[slots], self.episode[slots], step, what)

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Bools, Bools]:
        there = np.clip(self.places(self.cell) + MOVES[actions], 0, self.size - 1)
        self.cell[...] = there @ np.array([1, self.size])
        self.phase_step += 1
        fetched = self.cell == self.cubes[self._everyone, self.target]
        over = fetched | (self.phase_step >= self.phase_steps)
        self._jump(fetched)
        self.fetched += fetched
        self.phase += over
        self.phase_step[over] = 0
        slots = np.flatnonzero(over)
        by = 1 + self._drawn(slots, self.episode_length[slots] + 1, _TARGET, self.colours - 1)
        self.target[slots] = (self.target[slots] + by) % self.colours
        return fetched / self.phases, self.phase >= self.phases, np.zeros(self.num_envs, np.bool_)

    def _jump(self, fetched: Bools) -> None:
        """Move the cubes that were fetched, and elsewhere now and then one of the others."""
        step = self.episode_length + 1
        chance = uniform(self.seed, Purpose.EPISODE, self.life, self.episode, step, _JUMPS)
        by = 1 + self._drawn(self._everyone, step, _WHICH, self.colours - 1)
        self.moved[...] = np.where(fetched, self.target, (self.target + by) % self.colours)
        still = ~fetched & (chance >= self.teleport)
        self.moved[still] = self.colours
        slots = np.flatnonzero(~still)
        free = np.ones((slots.size, self.size**2), np.bool_)
        free[np.arange(slots.size)[:, None], np.c_[self.cubes[slots], self.cell[slots]]] = False
        drawn = uniform(self.seed, Purpose.EPISODE, self.life[slots], self.episode[slots], step[slots], _WHERE)
        count = free.cumsum(1)
        self.cubes[slots, self.moved[slots]] = (count <= (drawn * count[:, -1])[:, None]).sum(1)

    def _observe(self) -> dict[str, NDArray[Any]]:
        jumped, first = self.moved < self.colours, self.episode_length == 0
        to = self.places(self.cubes[self._everyone, np.minimum(self.moved, self.colours - 1)])
        return {
            "place": self.places(self.cell),
            "target": self.target.copy(),
            "moved": self.moved.copy(),
            "to": np.where(jumped[:, None], to, self.size),
            "cubes": np.where(first[:, None, None], self.places(self.cubes), self.size),
        }

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        return {"success": self.fetched[slots] == self.phases}

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the position of the stream, with the state of the unfinished episodes."""
        return super().position() | {name: getattr(self, name).copy() for name in _KEPT}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        for name in _KEPT:
            getattr(self, name)[...] = position[name]
