"""Time calls in turns: on the host by its clock, on a GPU by events around graph replays."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from lifelong.kernels.cuda_graph import captured

__all__ = ["Call", "Clock", "CudaClock", "in_turns"]

Call = Callable[[], object]
LEAST = 5e-3  # minimal seconds of a turn


class Clock:
    """Clock of the host."""

    def seconds(self, call: Call, count: int) -> float:
        """Return seconds per call.

        Args:
            call: the function to time.
            count: number of calls.
        """
        began = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - began) / count

    def captured(self, call: Call) -> Call:
        """Return the call with its launch cost removed, where possible; here, unchanged."""
        return call


class CudaClock(Clock):
    """Clock of the GPU, by CUDA events.

    Args:
        flush: whether to flush the L2 cache before every call.
    """

    def __init__(self, flush: bool = False) -> None:
        size = 4 * torch.cuda.get_device_properties(0).L2_cache_size if flush else 0
        self.sweep = torch.empty(size, dtype=torch.int8, device="cuda")

    def seconds(self, call: Call, count: int) -> float:
        """Return seconds per call; see `Clock.seconds`."""
        pairs: list[tuple[Any, Any]] = []
        each = self.sweep.numel() > 0  # a pair of events around every call, or one around all
        for n in range(count):
            if each:
                self.sweep.zero_()
            if each or n == 0:
                pairs.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
                pairs[-1][0].record()
            call()
            if each or n == count - 1:
                pairs[-1][1].record()
        torch.cuda.synchronize()
        return float(sum(first.elapsed_time(last) for first, last in pairs)) / 1e3 / count

    def captured(self, call: Call) -> Call:
        """Return the replay of a CUDA graph of the call."""
        return captured(call)


def in_turns(calls: Mapping[str, Call], repeats: int, clock: Clock) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Time calls in turns, in alternating order from round to round.

    Args:
        calls: the functions to time, by name.
        repeats: rounds.
        clock: the clock.

    Returns:
        times: seconds per call of every round, by name.
        errors: exceptions in one line, by name; such a call has no times.
    """
    counts: dict[str, int] = {}
    errors: dict[str, str] = {}
    for name, call in calls.items():
        try:
            call()  # compiles
            once = clock.seconds(call, 1)
            counts[name] = max(1, math.ceil(LEAST / max(once, 1e-7)))
            clock.seconds(call, counts[name])
        except Exception as error:  # noqa: BLE001  one failing call must not stop the others
            errors[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    times: dict[str, list[float]] = {name: [] for name in counts}
    for number in range(repeats):
        for name in reversed(counts) if number % 2 else counts:
            if counts[name] > 1:
                calls[name]()  # untimed: clears caches and idle threads of the previous call
            times[name].append(clock.seconds(calls[name], counts[name]))
    return times, errors
