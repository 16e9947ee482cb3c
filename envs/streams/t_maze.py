"""TMaze: a signal at the start of a corridor tells the way at its end; a test of memory within an episode.

    north arm
        |
    S---+ ... corridor of L steps ... +---J       S the signal, J the junction
                                          |
                                      south arm

An episode has as many steps as the shortest way, L along the corridor and one into an arm, and `spare` more. An arm
ends it: it pays 1 if it is the one that the signal named, else 0. Every step after which the junction can no longer be
reached in time costs 1 / (all steps but the last), so who dawdles is told at once, and loses 1 at most. No action can
serve as a note, as moves east are all that leads on. So a policy without a memory within the episode gets 1/2 at best,
whatever it does (`memoryless` of the certificate), and one that holds a bit for L steps gets 1. Nothing lasts from one
episode to the next: beside `carry=episode` a memory of the life gains nothing, and shows only whether it lets go of the
signal before.

An agent that draws its actions goes astray now and then: in corridors much longer than those of its training give it
steps to spare, or let it act greedily.

`variant="passive"` shows the signal at the start. With `active` the agent begins one step east of it and has to fetch
it: there are two steps more in an episode, one west and one back.

| entry | meaning |
| --- | --- |
| signal | 0 none, 1 north, 2 south; at the corridor's west end only |
| junction | [1] 1 at the junction |
| distractors | [d] uniform numbers in [0, 1], drawn anew in every step; only if `distractors` > 0 |

Hidden: the right arm, drawn for every episode. There is one task; rows have the arm as `answer`, 0 north and 1
south. A corridor may have 10^6 steps and more: nothing is kept of it but the agent's place.

Source: Bakker 2001 (NeurIPS 14), Ni et al. 2023, arXiv:2307.03864, whose variants, moves, time limit and rewards these
are; other than there an arm ends the episode, and the signal shows as often as its cell is visited.
"""

from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers, uniform
from lifelong.envs.schedules import Block, Schedule
from lifelong.envs.stream import Boundary, References, Task, TaskStream
from lifelong.envs.streams.grid_moves import MOVES

__all__ = ["TMaze", "Variant", "random_walk_return"]

Ints = NDArray[np.int64]
Variant = Literal["passive", "active"]

_NEGLIGIBLE = 1e-18  # of probabilities


class TMaze(TaskStream):
    """Lives of T-mazes, natively batched.

    Args:
        num_envs: B, lives side by side.
        corridor: L, steps from the start to the junction.
        variant: `passive`, the signal is at the start; `active`, it is one step west of it.
        spare: steps of an episode beyond those of the shortest way.
        distractors: d, random numbers that are observed in every step.
        schedule: of the tasks, of which there is one.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of changes of task.
        seed: of the lives.

    Raises:
        ValueError: on numbers that make no maze.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        corridor: int = 64,
        variant: Variant = "passive",
        spare: int = 0,
        distractors: int = 0,
        schedule: Schedule = Block(1),  # noqa: B008  frozen
        life_episodes: int | None = 32,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        if variant not in get_args(Variant):
            raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}")
        for name, number, least in (("corridor", corridor, 1), ("spare", spare, 0), ("distractors", distractors, 0)):
            if number < least:
                raise ValueError(f"{name} must be at least {least}: {name}={number}")
        self.corridor, self.variant, self.spare, self.distractors = corridor, variant, spare, distractors
        self.away = int(variant == "active")  # steps from the signal to the start
        self.junction = self.away + corridor
        self.episode_steps = self.junction + self.away + 1 + spare  # at most
        entries: dict[str, spaces.Space[Any]] = {
            "signal": spaces.Discrete(3),
            "junction": spaces.Box(0.0, 1.0, (1,), np.float32),
        }
        if distractors:
            entries["distractors"] = spaces.Box(0.0, 1.0, (distractors,), np.float32)
        random = float("nan") if spare else random_walk_return(corridor, self.away)
        super().__init__(
            num_envs,
            tasks=[Task("maze", References(random=random, within=1.0, cross=1.0, oracle=1.0))],
            observation_space=spaces.Dict(entries),
            action_space=spaces.Discrete(4),
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self.place = np.zeros((num_envs, 2), np.int64)  # steps from the west end, and row: -1 north, 0, 1 south
        self.right = np.ones(num_envs, np.int64)  # row of the right arm
        self.position_bounds = {"place": ((0, -1), (self.junction, 1))}

    def _begin_episodes(self, slots: Ints) -> None:
        drawn = integers(2, self.seed, Purpose.EPISODE, self.life[slots], self.episode[slots], 0)
        self.right[slots] = 2 * drawn - 1
        self.place[slots] = self.away, 0

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        self.place[...] = walk(self.place, actions, self.junction)
        steps = self.episode_length + 1
        in_arm, last = self.place[:, 1] != 0, steps >= self.episode_steps
        behind = (self.place[:, 0] < steps - self.away - self.spare) & ~last
        reward = np.where(in_arm, self.place[:, 1] == self.right, 0.0 - behind / (self.episode_steps - 1))
        return reward, in_arm | last, np.zeros(self.num_envs, np.bool_)

    def _observe(self) -> dict[str, NDArray[Any]]:
        signal = np.where(self.place[:, 0] == 0, (self.right + 3) // 2, 0)
        obs = {"signal": signal, "junction": (self.place[:, :1] == self.junction).astype(np.float32)}
        if self.distractors:
            step = self.life[:, None], self.episode[:, None], 1 + self.episode_length[:, None]
            drawn = uniform(self.seed, Purpose.EPISODE, *step, np.arange(self.distractors))
            obs["distractors"] = drawn.astype(np.float32)
        return obs

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        row = self.place[slots, 1]
        return {"success": row == self.right[slots], "answer": np.where(row == 0, -1, (row + 1) // 2)}

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the position of the stream, with the places of the agents."""
        return super().position() | {"place": self.place.copy()}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        self.place[...] = position["place"]


def walk(place: Ints, actions: Ints, junction: int) -> Ints:
    """Return the places [B, 2] after moves [B] in a maze with its junction at that many steps from the west end.

    A move into a wall has no effect: north and south lead somewhere at the junction only.
    """
    there = place + MOVES[actions]
    column, row = there.T
    inside = (column >= 0) & (column <= junction) & ((row == 0) | (column == junction))
    moved: Ints = np.where(inside[:, None], there, place)
    return moved


@lru_cache
def random_walk_return(corridor: int, away: int) -> float:
    """Return the expected return of uniform moves, exactly.

    Args:
        corridor: steps from the start to the junction.
        away: steps from the signal to the start.
    """
    junction, steps = away + corridor, corridor + 2 * away
    in_time, chosen, expected = {away: 1.0}, 0.0, 0.0  # where those are that are not behind; who is stays so
    for step in range(1, steps + 2):
        places = np.repeat([(column, 0) for column in in_time], 4, 0)
        chances = np.repeat(list(in_time.values()), 4) / 4
        moved, in_time = walk(places, np.arange(len(places)) % 4, junction), {}
        for (column, row), chance in zip(moved.tolist(), chances.tolist(), strict=True):
            if row:
                chosen += chance
                expected += chance / 2
            elif column >= step - away:
                in_time[column] = in_time.get(column, 0.0) + chance
        held = sum(in_time.values())
        if step <= steps:
            expected -= (1 - chosen - held) / steps
        if held < _NEGLIGIBLE:
            return expected - (1 - chosen) * max(steps - step, 0) / steps
    return expected
