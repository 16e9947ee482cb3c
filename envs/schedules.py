"""Schedules: the task of the next episode as a function of the life's history, as data.

Every schedule is a frozen dataclass with one method, `next`. It sees the life's history and may draw random numbers
that depend on nothing but (stream seed, life, episode), so it has no state of its own. With tasks in an order, such as
rising strengths of a drift, `Sweep` and `Walk` make a gradual change, regular or random.

Schedules that name tasks, count steps or contain other schedules: `composed_schedules.py`.
"""

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.jit import jit

__all__ = [
    "Block",
    "Cyclic",
    "Draw",
    "History",
    "Interleaved",
    "Ints",
    "Novelty",
    "RandomHazard",
    "Redrawn",
    "Schedule",
    "SpacedLags",
    "Sweep",
    "Walk",
    "check_positive",
]

Ints = NDArray[np.int64]
Draw = Callable[[int], NDArray[np.float64]]
"""draw(i) is the i-th number in [0, 1) of each life's coming episode."""


@dataclass(frozen=True, slots=True)
class History:
    """Task history of n lives before their next episode.

    Args:
        episode: [n] episodes lived so far.
        task: [n] task of the last one, -1 before the first.
        met: [n, N] episode in which each of the N tasks was last met, -1 if never.
        meetings: [n, N] how many episodes of each task there were.
        step: environment steps of all lives together.
    """

    episode: Ints
    task: Ints
    met: Ints
    meetings: Ints
    step: int = 0


class Schedule(Protocol):
    """Order of tasks in a life."""

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode, [n]."""
        ...


def check_positive(name: str, value: int) -> None:
    """Validate a count.

    Raises:
        ValueError: if it is no whole number, or below 1.
    """
    if not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number: {name}={value}")
    if value < 1:
        raise ValueError(f"{name} must be positive: {name}={value}")


def _probability(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1]: {name}={value}")


@dataclass(frozen=True, slots=True)
class Block:
    """Tasks in order, `episodes` of each; the last one stays.

    Args:
        episodes: of each task.
    """

    episodes: int

    def __post_init__(self) -> None:
        """Validate the block length."""
        check_positive("episodes", self.episodes)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        coming: Ints = np.minimum(history.episode // self.episodes, history.met.shape[1] - 1)
        return coming


@dataclass(frozen=True, slots=True)
class Cyclic:
    """Tasks in order, `episodes` of each, again and again.

    Args:
        episodes: of each task.
    """

    episodes: int

    def __post_init__(self) -> None:
        """Validate the block length."""
        check_positive("episodes", self.episodes)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        coming: Ints = history.episode // self.episodes % history.met.shape[1]
        return coming


@dataclass(frozen=True, slots=True)
class Redrawn:
    """Every `episodes` episodes the task is drawn anew, the present one included.

    Args:
        episodes: until the next draw.
    """

    episodes: int

    def __post_init__(self) -> None:
        """Validate the block length."""
        check_positive("episodes", self.episodes)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        drawn = (draw(0) * history.met.shape[1]).astype(np.int64)
        return np.where(history.episode % self.episodes == 0, drawn, history.task)


@dataclass(frozen=True, slots=True)
class RandomHazard:
    """After every episode the task changes with probability `hazard`, to any other one.

    Args:
        hazard: in [0, 1].

    Raises:
        ValueError: if it is not.
    """

    hazard: float

    def __post_init__(self) -> None:
        """Validate the probability."""
        _probability("hazard", self.hazard)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        tasks = history.met.shape[1]
        first = (draw(0) * tasks).astype(np.int64)
        other = (history.task + 1 + (draw(1) * max(tasks - 1, 1)).astype(np.int64)) % tasks
        going_on = np.where(draw(2) < self.hazard, other, history.task)
        return np.where(history.task < 0, first, going_on)


@dataclass(frozen=True, slots=True)
class Interleaved:
    """Every episode draws its task; the r-th has weight 1 / (r + 1)^zipf, so a large `zipf` spreads the lags.

    At least `gap` episodes of other tasks stand between two of one task, as there are others. With `grow` a
    life begins with two tasks and may meet one more every `grow` episodes: easy first, in every life.

    Args:
        zipf: exponent of the weights; 0 is uniform.
        gap: episodes of other tasks between two of one task, if there are others.
        grow: episodes until a life may meet one more task, starting with two; 0 for all at once.

    Raises:
        ValueError: if the exponent is not finite, or a count negative.
    """

    zipf: float = 0.0
    gap: int = 0
    grow: int = 0

    def __post_init__(self) -> None:
        """Validate the settings."""
        if not math.isfinite(self.zipf):
            raise ValueError(f"zipf must be finite: zipf={self.zipf}")
        for name, number in (("gap", self.gap), ("grow", self.grow)):
            if number < 0:
                raise ValueError(f"{name} must not be negative: {name}={number}")

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        weights = np.arange(1, history.met.shape[1] + 1) ** -self.zipf
        coming: Ints = _weighted(weights, history.met, history.episode, draw(0), self.gap, self.grow)
        return coming


@jit
def _weighted(weights: Any, met: Any, episode: Any, drawn: Any, gap: int, grow: int) -> Any:
    """Return [n] tasks, each with a probability in proportion to its weight, or 0 if it rests or is yet to come.

    Args:
        weights: [N] of the tasks.
        met: [n, N] episode in which each was last met, -1 if never.
        episode: [n] episodes lived so far.
        drawn: [n] in [0, 1).
        gap: episodes for which a task rests; it counts for nothing if all rest.
        grow: episodes until one more task may come; 0 if all may.
    """
    coming, edges = np.empty(drawn.size, np.int64), np.empty(weights.size)
    for n in range(drawn.size):
        known = min(2 + episode[n] // grow, weights.size) if grow else weights.size
        total = 0.0
        for resting in (True, False):  # the second time none rests
            for i in range(weights.size):
                rests = resting and met[n, i] >= max(episode[n] - gap, 0)
                total += 0.0 if rests or i >= known else weights[i]
                edges[i] = total
            if total > 0:
                break
        coming[n] = 0
        for i in range(weights.size):
            coming[n] += edges[i] <= drawn[n] * total
    return coming


@dataclass(frozen=True, slots=True)
class Novelty:
    """With probability `novelty` the lowest task never met, as there is one; else one that was, all alike.

    A life begins with the first task, and meets what it knows again and again beside what is new.

    Args:
        novelty: in [0, 1].

    Raises:
        ValueError: if it is not.
    """

    novelty: float = 0.1

    def __post_init__(self) -> None:
        """Validate the probability."""
        _probability("novelty", self.novelty)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        met = history.met >= 0
        known = met.sum(1)
        place = (draw(0) * known).astype(np.int64)  # among those met
        again = (met.cumsum(1) > place[:, None]).argmax(1)
        new = (known == 0) | ((draw(1) < self.novelty) & (known < met.shape[1]))
        coming: Ints = np.where(new, (~met).argmax(1), again)
        return coming


@dataclass(frozen=True, slots=True)
class Sweep:
    """From the first task to the last in `episodes` episodes, evenly, and back in as many, again and again.

    Args:
        episodes: of each way.
    """

    episodes: int

    def __post_init__(self) -> None:
        """Validate the sweep length."""
        check_positive("episodes", self.episodes)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        phase = history.episode % (2 * self.episodes)
        up = np.minimum(phase, 2 * self.episodes - 1 - phase)
        coming: Ints = up * history.met.shape[1] // self.episodes
        return coming


@dataclass(frozen=True, slots=True)
class Walk:
    """After every episode the task changes with probability `rate`, to the next or the one before; the first is drawn.

    Without `pull` both are as likely, and a step over an end is not taken: in the long run all tasks are. With it the
    step at task x of N goes up with probability 1/2 + pull (1/2 - x / (N - 1)): what is far from the middle comes back,
    in (N - 1) / (2 rate pull) episodes, as in an Ornstein-Uhlenbeck process. With a pull of 1 that is Ehrenfest's urn:
    in the long run x is binomial.

    Args:
        rate: probability of a change, in [0, 1].
        pull: how strongly what is far from the middle comes back, in [0, 1].

    Raises:
        ValueError: if one is not in [0, 1].
    """

    rate: float
    pull: float = 0.0

    def __post_init__(self) -> None:
        """Validate the probability."""
        _probability("rate", self.rate)
        _probability("pull", self.pull)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        last = history.met.shape[1] - 1
        first = (draw(0) * (last + 1)).astype(np.int64)
        up = draw(2) < 0.5 + self.pull * (0.5 - history.task / max(last, 1))
        step = np.where(draw(1) < self.rate, np.where(up, 1, -1), 0)
        coming: Ints = np.where(history.task < 0, first, np.clip(history.task + step, 0, last))
        return coming


@dataclass(frozen=True, slots=True)
class SpacedLags:
    """Spaced repetition: half of the tasks recur after 1, 2, 4, ... `longest` episodes, cyclically.

    They are the second half; random tasks of the first half fill the time between. The lags are exact while there is
    room for all: about 2 longest / log2(2 longest)^2 tasks, 33 for 1024; beyond that a task may be late by some
    episodes.

    Args:
        longest: lag, episodes.

    Raises:
        ValueError: if it is not positive.
    """

    longest: int = 1024

    def __post_init__(self) -> None:
        """Validate the grid of lags."""
        check_positive("longest", self.longest)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        tasks, rungs = history.met.shape[1], self.longest.bit_length()
        fillers = max(tasks // 2, 1)
        filler: Ints = (draw(0) * fillers).astype(np.int64)
        if fillers == tasks:
            return filler
        met, meetings = history.met[:, fillers:], history.meetings[:, fillers:]
        rung = np.maximum(meetings - 1, 0) % rungs
        due = np.where(met < 0, _first_meetings(tasks - fillers, rungs), met + 2**rung)
        overdue = history.episode[:, None] - due
        probe = overdue.argmax(1)
        ripe = np.take_along_axis(overdue, probe[:, None], 1)[:, 0] >= 0
        coming: Ints = np.where(ripe, fillers + probe, filler)
        return coming


@lru_cache
def _first_meetings(probes: int, rungs: int) -> Ints:
    """Return the episodes in which the probes are first met, so that no two are ever due at once while that can be.

    A probe first met in episode s is due again in s + 1, s + 3, s + 7, ..., with period 2^rungs - 1.
    """
    period = 2**rungs - 1
    taken: set[int] = set()
    firsts: list[int] = []
    candidate = 0
    for probe in range(probes):
        while candidate < period and taken & {(candidate + 2**k - 1) % period for k in range(rungs)}:
            candidate += 1
        if candidate < period:
            taken |= {(candidate + 2**k - 1) % period for k in range(rungs)}
            firsts.append(candidate)
        else:
            firsts.append(2 * probe)
    return np.array(firsts)
