"""Scripted policies that act on observations, and `play`, which runs one in a stream.

A policy gets the observation and the life starts, and keeps its own state. One that reads the stream itself is an
oracle.
"""

from collections.abc import Callable
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, integers, uniform
from lifelong.envs.stream import ROW

__all__ = [
    "FixedPolicy",
    "LearningPolicy",
    "NotePolicy",
    "OraclePolicy",
    "Policy",
    "RandomPolicy",
    "UniformPolicy",
    "learner_policies",
    "play",
]

Ints = NDArray[np.int64]
Rows = dict[str, NDArray[Any]]


class Policy(Protocol):
    """A policy that acts in all B slots of a stream at once."""

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the next actions [B, ...].

        Args:
            obs: observation of the stream.
            life_start: [B] where a new life begins: the policy's state is reset there.
        """
        ...


class UniformPolicy:
    """Uniformly random policy over Discrete actions.

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
    """Uniformly random policy over a Discrete space or a bounded Box.

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
    """Constant policy.

    Args:
        action: which.
    """

    def __init__(self, action: int = 0) -> None:
        self.action = action

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return that action."""
        return np.full(life_start.size, self.action)


class NotePolicy:
    """A stateless policy that repeats rewarded actions: its last action is a note to itself, if it is observed.

    Args:
        actions: number of actions.
        persistence: probability of repeating an unrewarded action; otherwise the next action follows.
        seed: of the choices.
    """

    def __init__(self, actions: int, persistence: float = 0.0, seed: int = 0) -> None:
        self.actions, self.persistence, self.seed, self.steps = actions, persistence, seed, 0

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> Ints:
        """Return the next actions."""
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
        choose: reads the stream and returns the next actions [B].
    """

    def __init__(self, choose: Callable[[], NDArray[Any]]) -> None:
        self.choose = choose

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the oracle's actions."""
        return self.choose()


class LearningPolicy:
    """Base of policies that learn from observations.

    Args:
        wiped: whether what was learned is reset at every episode's start, not only at a life's.
    """

    def __init__(self, *, wiped: bool) -> None:
        self.wiped = wiped

    def resets(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return [B], true where what was learned is reset."""
        started: NDArray[np.bool_] = obs["episode_start"][:, 0] > 0
        return started if self.wiped else life_start


def learner_policies(
    stream: Any, learner: Callable[..., Policy], oracle: Callable[[], NDArray[Any]]
) -> dict[str, Callable[[], Policy]]:
    """Return reference policies by name: `within` and `cross` are one learning policy, wiped or not.

    Args:
        stream: a stream of Discrete actions.
        learner: makes the policy from the stream; `wiped=True` resets it at every episode's start.
        oracle: reads the stream and returns the best actions [B].
    """
    return {
        "random": lambda: UniformPolicy(int(stream.single_action_space.n), stream.seed),
        "within": lambda: learner(stream, wiped=True),
        "cross": lambda: learner(stream),
        "oracle": lambda: OraclePolicy(oracle),
    }


def play(stream: Any, policy: Policy, episodes: int) -> Rows:
    """Run a policy in a stream from its reset, and return the rows of the first `episodes` episodes of every slot.

    Args:
        stream: a `TaskStream`.
        policy: the policy.
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
