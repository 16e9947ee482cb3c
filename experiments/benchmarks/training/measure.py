"""Measure trainers in turns, by the wall's clock and the processor's, and say what is to be doubted."""

import os
import time
from collections.abc import Callable, Mapping
from statistics import median, quantiles
from typing import Any, NamedTuple

__all__ = [
    "MOST_SPREAD",
    "Contestant",
    "Measured",
    "Stopwatch",
    "doubts",
    "in_turns",
    "load_average",
    "middle",
    "spread",
]

MOST_SPREAD = 0.3
"""Interquartile range over median above which nothing is concluded."""


class Stopwatch:
    """Seconds that pass in a function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function; what it takes is added to `seconds`."""

        def run(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.seconds += time.perf_counter() - began

        return run


class Contestant(NamedTuple):
    """A trainer.

    Args:
        collect: acts for the steps between two updates; None where acting and learning are one call.
        learn: learns from them.
        env: seconds in its environment's `step`.
    """

    collect: Callable[[], None] | None
    learn: Callable[[], None]
    env: Stopwatch


class Measured(NamedTuple):
    """Seconds of each turn of one trainer.

    Args:
        wall: collecting and learning.
        cpu: the same, of all threads of the process.
        acting: collecting without the environment's step; empty where that is not known.
    """

    wall: list[float]
    cpu: list[float]
    acting: list[float]


def in_turns(contestants: Mapping[str, Contestant], turns: int) -> dict[str, Measured]:
    """Return the seconds of each trainer's turns; the first of each is not counted.

    Args:
        contestants: by name.
        turns: of each; the order is reversed from one round to the next.
    """
    measured = {name: Measured([], [], []) for name in contestants}
    for number in range(turns + 1):
        order = list(contestants.items())
        for name, contestant in order if number % 2 else reversed(order):
            outside, cpu, wall = contestant.env.seconds, time.process_time(), time.perf_counter()
            if contestant.collect is not None:
                contestant.collect()
            acting = time.perf_counter() - wall - (contestant.env.seconds - outside)
            contestant.learn()
            if number:
                measured[name].wall.append(time.perf_counter() - wall)
                measured[name].cpu.append(time.process_time() - cpu)
                if contestant.collect is not None:
                    measured[name].acting.append(acting)
    return measured


def spread(seconds: list[float]) -> float:
    """Return the interquartile range over the median; infinite of less than three."""
    if len(seconds) < 3:
        return float("inf")
    low, middle, high = quantiles(seconds, n=4, method="inclusive")
    return (high - low) / middle


def doubts(measured: Mapping[str, Measured], load: float | None, cores: int) -> list[str]:
    """Return why nothing is to be concluded; nothing where the machine was quiet.

    Args:
        measured: by name of the trainer.
        load: processes that ran on average in the minute before, or during the measurement; None where it is not known.
        cores: of the machine.
    """
    found = []
    if load is not None and load > cores:
        found.append(f"the load was {load:.1f} on {cores} cores")
    for name, seconds in measured.items():
        if (wide := spread(seconds.wall)) > MOST_SPREAD:
            said = f"{wide:.0%} of the median" if len(seconds.wall) > 2 else f"not known of {len(seconds.wall)} turns"
            found.append(f"the spread of {name} is {said}")
    return found


def load_average() -> float | None:
    """Return the processes that ran on average in the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def middle(seconds: list[float]) -> float:
    """Return the median; NaN of none."""
    return median(seconds) if seconds else float("nan")
