"""Scripted policies that act on observations, and `play`, which runs one in a stream.

A policy is told the observation and where new lives begin, and keeps what it likes of them. One that looks into the
stream itself is an oracle and says so.
"""

from collections.abc import Callable
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers, uniform
from lifelong.envs.stream import ROW

__all__ = ["FixedPolicy", "NotePolicy", "OraclePolicy", "Policy", "RandomPolicy", "UniformPolicy", "play"]

Ints = NDArray[np.int64]
Rows = dict[str, NDArray[Any]]


class Policy(Protocol):
    """A policy that acts in all B slots of a stream at once."""

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the next actions [B, ...].

        Args:
            obs: observation of the stream.
            life_start: [B] where a new life begins: nothing that was learnt counts there.
        """
        ...


class UniformPolicy:
    """Every action with the same probability.

    Args:
        actions: how many there are.
        seed: of the choices.
    """

    def __init__(self, actions: int, seed: int = 0) -> None:
        self.actions, self.seed, self.steps = actions, seed, 0

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return uniform actions."""
        self.steps += 1
        return integers(self.actions, self.seed, Purpose.POLICY, np.arange(life_start.size), self.steps)


class RandomPolicy:
    """Uniform actions, of a Discrete space or of a Box with bounds.

    Args:
        space: of one life's actions.
        seed: of the choices.
    """

    def __init__(self, space: gymnasium.Space[Any], seed: int = 0) -> None:
        self.space: Any = space
        self.seed, self.steps = seed, 0

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[Any]:
        """Return uniform actions."""
        self.steps += 1
        lives = np.arange(life_start.size)
        if isinstance(self.space, spaces.Discrete):
            drawn = uniform(self.seed, Purpose.POLICY, lives, self.steps)
            return (drawn * int(self.space.n)).astype(np.int64)
        low, high = self.space.low, self.space.high
        numbers = self.steps * low.size + np.arange(low.size).reshape(low.shape)
        drawn = uniform(self.seed, Purpose.POLICY, lives.reshape(-1, *[1] * low.ndim), numbers)
        forces: NDArray[Any] = (low + drawn * (high - low)).astype(self.space.dtype)
        return forces


class FixedPolicy:
    """A constant action.

    Args:
        action: which.
    """

    def __init__(self, action: int = 0) -> None:
        self.action = action

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return that action."""
        return np.full(life_start.size, self.action)


class NotePolicy:
    """A policy without any state that leaves itself notes: it repeats the action that has just paid.

    Where the next episode's first observation shows the last action, it is shown again when the question comes back.

    Args:
        actions: how many there are.
        persistence: probability of repeating an action that has not paid; else the next one follows.
        seed: of the choices.
    """

    def __init__(self, actions: int, persistence: float = 0.0, seed: int = 0) -> None:
        self.actions, self.persistence, self.seed, self.steps = actions, persistence, seed, 0

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return the last actions, or those after them."""
        self.steps += 1
        last = obs["previous_action"]
        drawn = uniform(self.seed, Purpose.POLICY, np.arange(life_start.size), self.steps)
        stays = (obs["previous_reward"][:, 0] > 0) | (drawn < self.persistence)
        shown = last < self.actions
        repeated: Ints = np.where(stays, last, (last + 1) % self.actions)
        return np.where(shown, repeated, (drawn * self.actions).astype(np.int64))


class OraclePolicy:
    """A policy that reads hidden parameters from the stream.

    Args:
        choose: looks into the stream and returns the next actions [B].
    """

    def __init__(self, choose: Callable[[], NDArray[Any]]) -> None:
        self.choose = choose

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[Any]:
        """Return what is best."""
        return self.choose()


def play(stream: Any, policy: Policy, episodes: int) -> Rows:
    """Run a policy in a stream from its reset, and return the rows of the first `episodes` episodes of every slot.

    Args:
        stream: a `TaskStream`.
        policy: who.
        episodes: of each of the B slots.
    """
    obs, info = stream.reset()
    ended = np.zeros(stream.num_envs, np.int64)
    rows: list[Rows] = []
    while (ended < episodes).any():
        obs, _, terminated, truncated, info = stream.step(policy.act(obs, info["life_start"]))
        if "episodes" in info:
            slots = np.flatnonzero(terminated | truncated)
            rows.append({name: column[ended[slots] < episodes] for name, column in info["episodes"].items()})
            ended[slots] += 1
    return {name: np.concatenate([row[name] for row in rows]) for name in ROW}
