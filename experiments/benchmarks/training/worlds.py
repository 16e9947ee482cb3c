"""Environments in which trainers are compared: one stream, as it is for ours, and flat for others.

Everyone acts in the same stream: `rooms`, or MiniGrid's Python, with the level's own limit of steps or a short one,
which makes resets many. Others see the entries of an observation side by side as float32, without the stream's previous
action and reward.
"""

from functools import reduce
from operator import getitem
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifelong.agents.history import HISTORY
from lifelong.agents.leaves import leaves_of
from lifelong.envs.registry import make_stream
from lifelong.envs.rooms.tasks import TASKS
from lifelong.envs.stream import TaskStream
from lifelong.experiments.runs.errors import UserError

__all__ = ["SHORT", "FlatEnv", "World"]

SHORT = 40
"""Steps after which an episode is truncated where resets are many."""

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


class World(NamedTuple):
    """Environment of a comparison.

    Args:
        env_id: MiniGrid's id, or another of gymnasium.
        compiled: whether it is the twin in `rooms`.
        short: whether episodes are truncated after `SHORT` steps.
    """

    env_id: str
    compiled: bool
    short: bool

    def __str__(self) -> str:
        """Return the title of a table."""
        where = "`rooms`" if self.compiled else "Python"
        return f"{self.env_id} in {where}" + (f", many resets (at most {SHORT} steps)" if self.short else "")

    def stream(self, num_envs: int) -> TaskStream:
        """Return the stream.

        Raises:
            UserError: if `rooms` has no twin of the id.
        """
        if not self.compiled:
            more: dict[str, Any] = {"env_kwargs": {"max_steps": SHORT}} if self.short else {}
            return make_stream(f"gym:{self.env_id}", num_envs=num_envs, **more)
        twins = {task.minigrid_id: name for name, task in TASKS.items()}
        if self.env_id not in twins:
            raise UserError(f"rooms has no twin of env={self.env_id}; it has those of {', '.join(twins)}")
        limit: dict[str, Any] = {"max_steps": SHORT} if self.short else {}
        return make_stream("rooms", num_envs=num_envs, task=twins[self.env_id], **limit)


class FlatEnv:
    """A stream with flat observations.

    Args:
        stream: with discrete actions.
    """

    def __init__(self, stream: TaskStream) -> None:
        self.stream, self.num_envs = stream, stream.num_envs
        self.actions = int(stream.single_action_space.n)  # type: ignore[attr-defined]
        leaves = leaves_of(stream.single_observation_space)
        self._paths = [path for path, _ in leaves if path[0] not in HISTORY]
        self.size = self.reset().shape[1]
        """F, numbers of an observation."""
        self.returns: list[float] = []
        """Of the episodes that ended."""

    def reset(self) -> Floats:
        """Begin anew and return observations [B, F]."""
        return self._flat(self.stream.reset()[0])

    def step(self, actions: Any) -> tuple[Floats, Floats, Bools, Bools, Floats | None]:
        """Step all.

        Args:
            actions: [B].

        Returns:
            Observations [B, F], rewards [B], terminated [B], truncated [B], and where any was truncated the last
            observations [B, F] of the episodes.
        """
        obs, reward, terminated, truncated, info = self.stream.step(actions)
        if "episodes" in info:
            self.returns += info["episodes"]["return"].tolist()
        final = self._flat(info["final_obs"]) if "final_obs" in info else None
        return self._flat(obs), reward.astype(np.float32), terminated, truncated, final

    def _flat(self, obs: Any) -> Floats:
        parts = [np.reshape(reduce(getitem, path, obs), (self.num_envs, -1)) for path in self._paths]
        return np.concatenate(parts, 1, dtype=np.float32, casting="unsafe")
