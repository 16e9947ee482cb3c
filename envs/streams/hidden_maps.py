"""Base of streams of hidden maps: grids in which the agent searches for a goal.

The agent moves north, east, south or west. To step on the goal of the map pays 1 and ends the episode; after T steps it
ends with nothing. The tasks are the maps, drawn for every life: with the schedule `Block(20)` each is met for 20
episodes and never again, with `Cyclic` or `RandomHazard` they recur.

Entries of every such observation, besides the stream's own:

| entry | meaning |
| --- | --- |
| place | [2] x and y of the agent's cell |
| map | its number |

Rows have the cell in which the episode ended as `answer`, y n + x.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.schedules import Schedule
from lifelong.envs.stream import Boundary, References, Task
from lifelong.envs.streams.sealed import SealedStream

__all__ = ["HiddenMaps"]

Ints = NDArray[np.int64]


class HiddenMaps(SealedStream):
    """Base of grid streams; subclasses implement `_begin_lives`, `_begin_episodes` and `_try`, which ends by `_arrive`.

    Args:
        num_envs: B, lives side by side.
        size: n, cells on a side.
        max_steps: T, until an episode ends with nothing.
        maps: K, how many a life has.
        references: scores of every map.
        entries: spaces of one life's observation besides place and map.
        schedule: which map comes next.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of changes of map, besides its number.
        seed: of the lives.

    Raises:
        ValueError: if there are no maps.
    """

    kept = ("place",)

    def __init__(
        self,
        num_envs: int,
        *,
        size: int,
        max_steps: int,
        maps: int,
        references: References,
        entries: dict[str, spaces.Space[Any]],
        schedule: Schedule,
        life_episodes: int | None,
        boundary: Boundary,
        seed: int,
    ) -> None:
        if maps < 1:
            raise ValueError(f"maps must be positive: maps={maps}")
        self.size, self.max_steps, self.maps = size, max_steps, maps
        super().__init__(
            num_envs,
            entries={**entries, "place": spaces.MultiDiscrete([size, size]), "map": spaces.Discrete(maps)},
            actions=4,
            tasks=[Task(f"map {k}", references) for k in range(maps)],
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self.place = np.zeros((num_envs, 2), np.int64)
        self.position_bounds = {"place": (0, size - 1)}

    def _arrive(
        self, slots: Ints, place: Ints, found: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move the agents of these slots to cells [n, 2]; return reward and whether the episode ends, [n] each."""
        self.place[slots] = place
        self.answer[slots] = place[:, 1] * self.size + place[:, 0]
        return found.astype(np.float64), found | (self.episode_length[slots] + 1 >= self.max_steps)

    def _show(self) -> dict[str, NDArray[Any]]:
        return {"place": self.place.copy(), "map": self.base_task.copy()}
