"""Evaluation of frozen agents, the same for all: complete episodes in new environments, with drawn and greedy actions.

Every one of `SLOTS` environments plays until its first `EPISODES` episodes are over, and those count: a fixed time
would count more of the short ones. Returns are sums of rewards, neither discounted nor normalised.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["EPISODES", "SLOTS", "Act", "Curve", "Trained", "binned", "play"]

SLOTS, EPISODES = 20, 5
BINS = 50

Act = Callable[[Any, NDArray[np.bool_]], Any]
"""Chooses the actions [B] of observations [B]; the flags [B] say which are the first of an episode."""


class Trained(Protocol):
    """A trained agent of any library.

    Attributes:
        steps: environment steps that it was trained for.
        settings: of its training, as JSON.
        ends: [n] environment steps at which training episodes ended.
        returns: [n] of those episodes, in the rewards of the environment.
    """

    steps: int
    settings: dict[str, Any]
    ends: NDArray[np.int64]
    returns: NDArray[np.float64]

    def evaluate(self, *, greedy: bool) -> NDArray[np.float64]:
        """Return the returns [SLOTS, EPISODES] of `play` in environments that training has not met.

        Args:
            greedy: take the most probable action (of a normal distribution, its mean) instead of a random one.
        """
        ...


class Curve(NamedTuple):
    """Mean return of the training episodes that ended in each of `BINS` equal parts of training.

    Args:
        steps: at which the parts end.
        returns: None where no episode ended.
    """

    steps: list[int]
    returns: list[float | None]


def play(env: Any, act: Act, seed: int, episodes: int = EPISODES) -> NDArray[np.float64]:
    """Return the returns [B, episodes] of the first episodes of every slot.

    Args:
        env: gymnasium vector environment of B slots, which resets in the step in which an episode ends.
        act: chooses the actions.
        seed: of the environments.
        episodes: of every slot.
    """
    returns = np.zeros((env.num_envs, episodes))
    played, running = np.zeros(env.num_envs, np.int64), np.zeros(env.num_envs)
    start = np.ones(env.num_envs, np.bool_)
    obs, _ = env.reset(seed=seed)
    while played.min() < episodes:
        obs, reward, terminated, truncated, _ = env.step(act(obs, start))
        running += reward
        start = terminated | truncated
        for slot in np.flatnonzero(start & (played < episodes)):
            returns[slot, played[slot]] = running[slot]
        played += start
        running[start] = 0.0
    return returns


def binned(ends: NDArray[np.int64], returns: NDArray[np.float64], steps: int) -> Curve:
    """Return the learning curve of a training.

    Args:
        ends: [n] steps at which episodes ended, up to `steps`.
        returns: [n] of the episodes.
        steps: of the training.
    """
    edges = np.linspace(0, steps, BINS + 1)
    part = np.clip(np.searchsorted(edges, ends) - 1, 0, BINS - 1)
    number = np.bincount(part, minlength=BINS)
    total = np.bincount(part, returns, minlength=BINS)
    means = [float(f"{t / n:.6g}") if n else None for t, n in zip(total.tolist(), number.tolist(), strict=True)]
    return Curve([round(edge) for edge in edges[1:].tolist()], means)
