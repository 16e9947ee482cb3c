"""EndlessTMaze: one T-maze after another, each with a signal of its own; a test of rewriting within an episode.

An episode is a walk through M mazes. In the first cell of each a signal says which way to turn at its end; it is of no
use in the next maze, and to go on holding it is to be wrong there every other time. A turn pays 1/M if it is the right
one and costs 1/M if not, and leads into the next maze either way. Turns before the junction and steps forward at it
have no effect but to take time, and an episode is as long as the shortest way through its mazes. Steps forward are all
that brings a maze's end nearer, so no action can serve as a note: a policy without a memory within the episode gets 0,
whatever it does (`memoryless` of the certificate), one that keeps the episode's first signal 1/M (`first signal`), and
one that holds the last signal gets 1.

| entry | meaning |
| --- | --- |
| signal | 0 none, 1 left, 2 right; in a maze's first cell only |
| position | [1] share of the maze that is behind the agent: 0 in the first cell, 1 at the junction |

Actions: 0 forward, 1 left, 2 right.

Hidden: signals and lengths, drawn for every episode: with `lengths="uniform"` a maze has 1 to `corridor` steps, with
`fixed` that many. There is one task; `success` of a row is whether all turns were right.

Source: Shchendrigin et al. 2026, arXiv:2601.15086, whose signals, turns and two kinds of length these are; other than
there rewards add up to 1 and the time is limited instead of charged for.
"""

from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers
from lifelong.envs.schedules import Block, Schedule
from lifelong.envs.stream import Boundary, References, Task, TaskStream

__all__ = ["FORWARD", "LEFT", "RIGHT", "EndlessTMaze", "Lengths"]

Ints = NDArray[np.int64]
Lengths = Literal["uniform", "fixed"]
FORWARD, LEFT, RIGHT = range(3)


class EndlessTMaze(TaskStream):
    """Lives of T-mazes in a row, natively batched.

    Args:
        num_envs: B, lives side by side.
        mazes: M, of an episode.
        corridor: steps from the first cell of a maze to its junction, at most.
        lengths: of the corridors: `uniform`, any up to that; `fixed`, that one.
        schedule: of the tasks, of which there is one.
        life_episodes: episodes until a life ends and its slot begins a new one; None for one endless life.
        boundary: what the agent is told of changes of task.
        seed: of the lives.

    Raises:
        ValueError: on numbers that make no mazes.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        mazes: int = 16,
        corridor: int = 10,
        lengths: Lengths = "uniform",
        schedule: Schedule = Block(1),  # noqa: B008  frozen
        life_episodes: int | None = 32,
        boundary: Boundary = "none",
        seed: int = 0,
    ) -> None:
        if lengths not in get_args(Lengths):
            raise ValueError(f"lengths must be one of {', '.join(get_args(Lengths))}, got {lengths!r}")
        for name, number in (("mazes", mazes), ("corridor", corridor)):
            if number < 1:
                raise ValueError(f"{name} must be positive: {name}={number}")
        self.mazes, self.corridor, self.lengths = mazes, corridor, lengths
        super().__init__(
            num_envs,
            tasks=[Task("mazes", References(random=0.0, within=1.0, cross=1.0, oracle=1.0))],
            observation_space=spaces.Dict(
                {"signal": spaces.Discrete(3), "position": spaces.Box(0.0, 1.0, (1,), np.float32)}
            ),
            action_space=spaces.Discrete(3),
            schedule=schedule,
            life_episodes=life_episodes,
            boundary=boundary,
            seed=seed,
        )
        self._turns = np.full((num_envs, mazes), LEFT)  # the right ones
        self._lengths = np.full((num_envs, mazes), corridor)
        self.maze, self.place, self.turned_right = (np.zeros(num_envs, np.int64) for _ in range(3))
        self.episode_steps = np.zeros(num_envs, np.int64)
        self.position_bounds = {"maze": (0, mazes - 1), "place": (0, corridor), "turned_right": (0, mazes)}

    def right_turns(self) -> Ints:
        """Return [B] the right turns at the ends of the present mazes."""
        return self._turns[self._everyone, self.maze]

    def to_go(self) -> Ints:
        """Return [B] the steps to the next junctions."""
        left: Ints = self._lengths[self._everyone, self.maze] - self.place
        return left

    def _begin_episodes(self, slots: Ints) -> None:
        episode = self.life[slots, None], self.episode[slots, None], np.arange(self.mazes)
        self._turns[slots] = LEFT + integers(2, self.seed, Purpose.EPISODE, *episode, 0)
        if self.lengths == "uniform":
            self._lengths[slots] = 1 + integers(self.corridor, self.seed, Purpose.EPISODE, *episode, 1)
        self.maze[slots] = self.place[slots] = self.turned_right[slots] = 0
        self.episode_steps[slots] = self._lengths[slots].sum(1) + self.mazes

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        forward, junction = actions == FORWARD, self.to_go() == 0
        turns, right = junction & ~forward, actions == self.right_turns()
        reward = np.where(turns, np.where(right, 1.0, -1.0) / self.mazes, 0.0)
        last = self.episode_length + 1 >= self.episode_steps
        self.turned_right += turns & right
        self.place[...] = np.where(turns, 0, self.place + (forward & ~junction))
        self.maze[...] = np.minimum(self.maze + turns, self.mazes - 1)  # after the last turn the episode is over
        return reward, last, np.zeros(self.num_envs, np.bool_)

    def _observe(self) -> dict[str, NDArray[Any]]:
        share = self.place / self._lengths[self._everyone, self.maze]
        signal = np.where(self.place == 0, self.right_turns(), 0)
        return {"signal": signal, "position": share[:, None].astype(np.float32)}

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        return {"success": self.turned_right[slots] == self.mazes}

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the position of the stream, with the places of the agents."""
        return super().position() | {name: getattr(self, name).copy() for name in ("maze", "place", "turned_right")}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        for name in ("maze", "place", "turned_right"):
            getattr(self, name)[...] = position[name]
