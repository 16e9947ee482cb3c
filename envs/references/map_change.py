"""Reference policies of MapChange, from uniform actions to the oracle; all but the oracle see observations only.

| policy | knows |
| --- | --- |
| random | nothing |
| within | how such maps are made, and what it has seen in this episode |
| cross | how such maps are made, and what it has seen of this map in its life |
| oracle | the map |
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.policies import LearningPolicy, Policy, learner_policies
from lifelong.envs.streams.grid_moves import FAR, MOVES, distances
from lifelong.envs.streams.map_change import FLOOR, GOAL, RADIUS, WALL, MapChange, arms, four_rooms

__all__ = ["Explorer", "map_change_policies"]

Bools = NDArray[np.bool_]


def map_change_policies(stream: MapChange) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    return learner_policies(stream, Explorer, stream.shortest_moves)


class Explorer(LearningPolicy):
    """Walk to the goal, or to the nearest cell where it may be; take unseen cells of the cross to be open.

    It knows how far from the goal an episode starts at least, so it does not look for it nearer.

    Args:
        stream: whose numbers are looked at, and nothing else.
        wiped: whether all is forgotten at every episode's end.
    """

    def __init__(self, stream: MapChange, *, wiped: bool = False) -> None:
        super().__init__(wiped=wiped)
        self.size, self.nearest = stream.size, stream.nearest
        self.room = four_rooms(stream.size) == FLOOR
        self.may_open = np.zeros_like(self.room)
        for arm in arms(stream.size):
            self.may_open[arm[:, 0], arm[:, 1]] = True
        shape = stream.num_envs, stream.maps, stream.size, stream.size
        self.seen, self.wall, self.goal = (np.zeros(shape, np.bool_) for _ in range(3))
        self.too_near = np.zeros((stream.num_envs, stream.size, stream.size), np.bool_)  # of this episode

    def act(self, obs: dict[str, Any], life_start: Bools) -> NDArray[np.int64]:
        """Return the next moves."""
        started = obs["episode_start"][:, 0] > 0
        for known in (self.seen, self.wall, self.goal):
            known[self.resets(obs, life_start)] = False
        observation, everyone = obs["observation"], np.arange(life_start.size)
        x, y = observation["place"].T
        here = everyone, observation["map"]
        self._note_view(here, x, y, observation["view"])
        seen_here, wall, goal = self.seen[here], self.wall[here], self.goal[here]
        if started.any():
            self.too_near[started] = self._near(seen_here[started] & ~wall[started], x[started], y[started])
        maybe = np.where(goal.any((1, 2), keepdims=True), goal, self.room & ~seen_here & ~self.too_near)
        open_ = self.room | (self.may_open & ~wall)
        away = distances(open_, maybe)
        beside = everyone[:, None], y[:, None] + MOVES[:, 1], x[:, None] + MOVES[:, 0]
        moves: NDArray[np.int64] = np.where(open_[beside], away[beside], FAR).argmin(1)
        return moves

    def _note_view(self, here: Any, x: NDArray[np.int64], y: NDArray[np.int64], view: NDArray[np.int64]) -> None:
        """Note what is in view."""
        side = np.arange(-RADIUS, RADIUS + 1)
        rows = np.clip(y[:, None] + side, 0, self.size - 1)[:, :, None]
        columns = np.clip(x[:, None] + side, 0, self.size - 1)[:, None]
        cells = here[0][:, None, None], here[1][:, None, None], rows, columns
        self.seen[cells] = True
        self.wall[cells] = view == WALL
        self.goal[cells] = view == GOAL

    def _near(self, open_: Bools, x: NDArray[np.int64], y: NDArray[np.int64]) -> Bools:
        """Return where the goal cannot be, as there is a way that is too short; rooms are open, seen or not."""
        start = np.zeros_like(open_)
        start[np.arange(len(start)), y, x] = True
        near: Bools = distances(open_ | self.room, start) < self.nearest
        return near
