"""A schedule is data: which task the next episode has, given what the life has met so far.

Every schedule is a frozen dataclass with one method, `next`. It sees the life's history and may draw random numbers
that depend on nothing but (stream seed, life, episode), so it has no state of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Block", "Cyclic", "History", "Interleaved", "RandomHazard", "Redrawn", "Schedule", "SpacedLags"]

Ints = NDArray[np.int64]
Draw = Callable[[int], NDArray[np.float64]]
"""draw(i) is the i-th number in [0, 1) of each life's coming episode."""


@dataclass(frozen=True, slots=True)
class History:
    """What n lives have met before the episode that is about to start.

    Args:
        episode: [n] episodes lived so far.
        task: [n] task of the last one, -1 before the first.
        met: [n, N] episode in which each of the N tasks was last met, -1 if never.
        meetings: [n, N] how many episodes of each task there were.
    """

    episode: Ints
    task: Ints
    met: Ints
    meetings: Ints


class Schedule(Protocol):
    """Who comes next."""

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode, [n]."""
        ...


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be positive: {name}={value}")


@dataclass(frozen=True, slots=True)
class Block:
    """Tasks in order, `episodes` of each; the last one stays."""

    episodes: int

    def __post_init__(self) -> None:
        """Refuse empty blocks."""
        _positive("episodes", self.episodes)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        return np.minimum(history.episode // self.episodes, history.met.shape[1] - 1)


@dataclass(frozen=True, slots=True)
class Cyclic:
    """Tasks in order, `episodes` of each, again and again."""

    episodes: int

    def __post_init__(self) -> None:
        """Refuse empty blocks."""
        _positive("episodes", self.episodes)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        return history.episode // self.episodes % history.met.shape[1]


@dataclass(frozen=True, slots=True)
class Redrawn:
    """Every `episodes` episodes the task is drawn anew, the present one included."""

    episodes: int

    def __post_init__(self) -> None:
        """Refuse empty blocks."""
        _positive("episodes", self.episodes)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        drawn = (draw(0) * history.met.shape[1]).astype(np.int64)
        return np.where(history.episode % self.episodes == 0, drawn, history.task)


@dataclass(frozen=True, slots=True)
class RandomHazard:
    """After every episode the task changes with probability `hazard`, to any other one."""

    hazard: float

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        if not 0.0 <= self.hazard <= 1.0:
            raise ValueError(f"hazard must lie in [0, 1]: hazard={self.hazard}")

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        tasks = history.met.shape[1]
        first = (draw(0) * tasks).astype(np.int64)
        other = (history.task + 1 + (draw(1) * max(tasks - 1, 1)).astype(np.int64)) % tasks
        going_on = np.where(draw(2) < self.hazard, other, history.task)
        return np.where(history.task < 0, first, going_on)


@dataclass(frozen=True, slots=True)
class Interleaved:
    """Every episode draws its task; the r-th has weight 1 / (r + 1)^zipf, so a large `zipf` spreads the lags."""

    zipf: float = 0.0

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        weights = np.arange(1, history.met.shape[1] + 1) ** -self.zipf
        edges = np.cumsum(weights / weights.sum())
        return np.minimum(np.searchsorted(edges, draw(0), side="right"), history.met.shape[1] - 1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class SpacedLags:
    """The second half of the tasks come back after 1, 2, 4, ... `longest` episodes, and so on round; the first half,
    drawn at random, fills the time between.
    """  # noqa: D205

    longest: int = 1024

    def __post_init__(self) -> None:
        """Refuse a grid without a lag."""
        _positive("longest", self.longest)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        tasks = history.met.shape[1]
        fillers = max(tasks // 2, 1)
        filler = (draw(0) * fillers).astype(np.int64)
        if fillers == tasks:
            return filler
        met, meetings = history.met[:, fillers:], history.meetings[:, fillers:]
        rung = np.maximum(meetings - 1, 0) % self.longest.bit_length()
        due = np.where(met < 0, 2 * np.arange(tasks - fillers), met + 2**rung)  # newcomers every other episode
        overdue = history.episode[:, None] - due
        probe = overdue.argmax(1)
        ripe = np.take_along_axis(overdue, probe[:, None], 1)[:, 0] >= 0
        return np.where(ripe, fillers + probe, filler)
