"""How long a call takes: on the host by its own clock, on a GPU by events around graph replays; rivals in turns."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from lifelong.kernels.cuda_graph import captured

__all__ = ["Call", "Clock", "CudaClock", "in_turns"]

Call = Callable[[], object]
LEAST = 5e-3  # seconds a turn lasts, at least


class Clock:
    """The host's clock."""

    def seconds(self, call: Call, count: int) -> float:
        """Return seconds per call.

        Args:
            call: what to time.
            count: how often to call it.
        """
        began = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - began) / count

    def captured(self, call: Call) -> Call:
        """Return the call without what it costs to launch, where that can be had; here, itself."""
        return call


class CudaClock(Clock):
    """Events on the GPU's own time line.

    Args:
        flush: whether to sweep the L2 cache before every call, for what will not find its inputs there.
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
    """Time rivals one after another in every round, in one order and then in the other.

    Args:
        calls: what to time, by name.
        repeats: rounds.
        clock: by which.

    Returns:
        times: seconds per call of every round, by name.
        faults: what a call raised, in one line, by name; it has no times.
    """
    counts: dict[str, int] = {}
    faults: dict[str, str] = {}
    for name, call in calls.items():
        try:
            call()  # compiles
            once = clock.seconds(call, 1)
            counts[name] = max(1, math.ceil(LEAST / max(once, 1e-7)))
            clock.seconds(call, counts[name])
        except Exception as error:  # noqa: BLE001  a rival that breaks must not end the others' race
            faults[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    times: dict[str, list[float]] = {name: [] for name in counts}
    for number in range(repeats):
        for name in reversed(counts) if number % 2 else counts:
            if counts[name] > 1:
                calls[name]()  # lets go what the one before has left: caches, and threads that wait for more work
            times[name].append(clock.seconds(calls[name], counts[name]))
    return times, faults
