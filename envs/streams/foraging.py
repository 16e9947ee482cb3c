"""Foraging: things grow again where they grew, one kind pays and the other costs; a world that never ends.

The world of a life is a torus of n x n cells. In some of them things of two kinds grow, at places that stay for the
life. The agent sees the 5 x 5 cells around it and moves north, east, south or west. To step on a thing eats it: reward
1 if its kind is the one that pays, else -1; it is ripe again, in the same cell, `regrow` steps later. Which kind pays
is drawn anew every `season` episodes, and nothing tells of it but the rewards.

Episodes are stretches of `stretch` steps, for the rows: nothing is reset at their ends, neither the agent's place nor
what was eaten, so they are truncated, not terminated. A memory that is wiped there has to find the kind and the places
again. Policies that do not mind rewards, random moves and all without a memory that are known among them, get 0 on
average, as either kind pays as often. No closed form is known of the others: `within` and `cross` of the certificate
are one forager, wiped at every episode's end and not, and `oracle` is the same one with the world laid open; better
ones may exist. As the agent's place goes on over the episodes, a policy could leave itself notes in it: there is no
memory index.

| entry | meaning |
| --- | --- |
| view | [5, 5] cells around the agent, rows from north to south: 0 nothing, 1 or 2 a ripe thing of that kind |

Hidden: the places of things, and the kind that pays. There is one task.

Source: the settings of Forager (https://github.com/andnp/forager), which has such a torus, view and regrowth, and no
end; seasons are not in it.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers, uniform
from lifelong.envs.schedules import Block, Schedule
from lifelong.envs.stream import Boundary, References, Task, TaskStream
from lifelong.envs.streams.grid_moves import MOVES

__all__ = ["VIEW", "Foraging"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
VIEW = np.arange(-2, 3)
"""Cells in view, from the agent's own."""

_MEASURED = 6.8  # what the oracle gets with the usual settings, to .2


class Foraging(TaskStream):
    """Lives of foraging, natively batched.

    Args:
        num_envs: B, lives side by side.
        size: n, cells on a side; at least 5, as many as are in view.
        things: how many of each kind grow.
        regrow: steps until what was eaten is ripe again.
        stretch: steps of an episode.
        season: episodes after which the kind that pays is drawn anew.
        schedule: of the tasks, of which there is one.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of changes of task.
        seed: of the lives.

    Raises:
        ValueError: on numbers that make no world.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        size: int = 12,
        things: int = 8,
        regrow: int = 50,
        stretch: int = 50,
        season: int = 16,
        schedule: Schedule = Block(1),  # noqa: B008  frozen
        life_episodes: int | None = 64,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        if size < VIEW.size:
            raise ValueError(f"size must be at least {VIEW.size}: size={size}")
        for name, number in (("things", things), ("regrow", regrow), ("stretch", stretch), ("season", season)):
            if number < 1:
                raise ValueError(f"{name} must be positive: {name}={number}")
        if 2 * things > size**2:
            raise ValueError(f"things of two kinds must find a cell each: things={things}, size={size}")
        self.size, self.things, self.regrow, self.stretch, self.season = size, things, regrow, stretch, season
        usual = (size, things, regrow, stretch, season) == (12, 8, 50, 50, 16)
        references = References(random=0.0, oracle=_MEASURED if usual else float("nan"))
        super().__init__(
            num_envs,
            tasks=[Task("world", references)],
            observation_space=spaces.Dict({"view": spaces.MultiDiscrete(np.full((VIEW.size, VIEW.size), 3))}),
            action_space=spaces.Discrete(4),
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self.place = np.zeros((num_envs, 2), np.int64)
        self.kinds = np.zeros((num_envs, size, size), np.int64)  # [y, x], 0 where nothing grows
        self.ripe_at = np.zeros((num_envs, size, size), np.int64)  # step of the life from which on it is ripe
        self.position_bounds = {"place": (0, size - 1)}

    @property
    def unforkable(self) -> str:
        """What was eaten and where the agent is go on over the episodes."""
        return "the world goes on over its episodes, so none of them can be begun anew"

    def paying(self) -> Ints:
        """Return [B] the kinds that pay, 1 or 2."""
        season = self.episode // self.season
        return 1 + integers(2, self.seed, Purpose.RULE, self.life, season, 0)

    def _begin_lives(self, slots: Ints) -> None:
        drawn = uniform(self.seed, Purpose.RULE, self.life[slots, None], np.arange(self.size**2))
        order = drawn.argsort(1).argsort(1).reshape(-1, self.size, self.size)
        self.kinds[slots] = np.where(order < 2 * self.things, 1 + (order < self.things), 0)
        self.place[slots] = self.ripe_at[slots] = 0

    def _begin_episodes(self, slots: Ints) -> None:
        pass  # the world goes on

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], Bools, Bools]:
        moves = MOVES[actions]
        moves[self.at_rest] = 0
        self.place[...] = (self.place + moves) % self.size
        here = self._everyone, self.place[:, 1], self.place[:, 0]
        eaten = np.where(self.ripe_at[here] <= self.life_step, self.kinds[here], 0)
        eaten[self.at_rest] = 0
        reward = np.where(eaten > 0, np.where(eaten == self.paying(), 1.0, -1.0), 0.0)
        self.ripe_at[here] = np.where(eaten > 0, self.life_step + 1 + self.regrow, self.ripe_at[here])
        return reward, np.zeros(self.num_envs, np.bool_), self.episode_length + 1 >= self.stretch

    def _observe(self) -> dict[str, NDArray[Any]]:
        x, y = ((self.place[:, None] + VIEW[:, None]) % self.size).transpose(2, 0, 1)  # [B, 5] each
        cells = self._everyone[:, None, None], y[:, :, None], x[:, None]
        ripe = self.ripe_at[cells] <= self.life_step[:, None, None]
        return {"view": np.where(ripe, self.kinds[cells], 0)}

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the position of the stream, with the agents' places and what was eaten."""
        return super().position() | {"place": self.place.copy(), "ripe_at": self.ripe_at.copy()}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        self.place[...], self.ripe_at[...] = position["place"], position["ripe_at"]
