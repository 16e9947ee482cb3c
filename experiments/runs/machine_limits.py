"""Refuse sizes beyond this machine, in memory and threads, before anything of them is allocated; imports no torch.

Estimates count what is certainly held: arrays of a stream, weights, states of memories, records of a segment. What is
refused cannot be meant; what is not refused may still be too much.
"""

import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lifelong.experiments.runs.errors import UserError

__all__ = ["available_memory", "check_bytes", "check_stream_sizes", "check_threads", "check_workers"]

_MANY_LIVES, _LARGE = 2**12, 2**14  # below these nothing is estimated
_SMALL = 64  # of a large setting, to see how a stream grows with it
_TASK = 512  # bytes of a task: its name, its scores, its place in lists
_ENV = 10_000  # bytes of an environment of Python's
_THREADS, _PER_CORE = 64, 4  # most of all, and for each core
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def available_memory() -> int:
    """Return the bytes of main memory that this process may have, or 1 TB where the system does not say."""
    from lifelong.memory.footprint import main_memory  # not above: torch

    try:
        limit = int(_CGROUP.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no such file, or "max"
        return main_memory()
    return min(limit, main_memory())


def check_bytes(needed: float, sizes: Mapping[str, Any]) -> None:
    """Validate that some bytes are there.

    Args:
        needed: bytes, at least.
        sizes: that need them, by name.

    Raises:
        UserError: if they are not; says both values.
    """
    if needed > (there := available_memory()):
        named = ", ".join(f"{name}={value}" for name, value in sizes.items())
        raise UserError(f"these sizes need at least {needed / 1e9:,.1f} GB, {there / 1e9:,.1f} GB are there: {named}")


def check_threads(threads: int) -> None:
    """Validate a number of threads.

    Raises:
        UserError: if it is many times that of this machine's cores.
    """
    cores = os.cpu_count() or 1
    if threads > max(_THREADS, _PER_CORE * cores):
        raise UserError(
            f"threads must be at most {max(_THREADS, _PER_CORE * cores)} on {cores} cores: threads={threads}"
        )


def check_workers(env_workers: int) -> None:
    """Validate a number of processes of environments.

    Raises:
        UserError: if it is many times that of this machine's cores, or this system has none.
    """
    if env_workers and not hasattr(os, "fork"):
        raise UserError(f"env_workers must be 0 on {sys.platform}, which cannot fork: env_workers={env_workers}")
    cores = os.cpu_count() or 1
    if env_workers > (most := max(_THREADS, _PER_CORE * cores)):
        raise UserError(f"env_workers must be at most {most} on {cores} cores: env_workers={env_workers}")


def check_stream_sizes(make: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Validate that a stream of large settings can be held: it is made of small ones, and how it grows is reckoned.

    Args:
        make: of settings by name, `num_envs` among them.
        settings: of the stream that is asked for.

    Raises:
        UserError: if this machine has not the memory for it.
    """
    num_envs = settings.get("num_envs") or 1
    large = {name: value for name, value in settings.items() if _is_large(name, value)}
    if not large and num_envs < _MANY_LIVES:
        return
    small = dict(settings) | {"num_envs": 1} | dict.fromkeys(large, _SMALL)
    small |= {"env_workers": 1} if settings.get("env_workers") else {}
    try:
        before = _held(make(**small))
        of_all, of_life = before
        for name, value in large.items():
            after = _held(make(**(small | {name: 2 * _SMALL})))
            growth = [math.log2(max(b, 1) / max(a, 1)) for a, b in zip(before, after, strict=True)]
            of_all, of_life = (
                held * (value / _SMALL) ** max(by, 0.0) for held, by in zip((of_all, of_life), growth, strict=True)
            )
    except (UserError, ArithmeticError, TypeError, ValueError):
        return  # it is made as it is asked for, and says what is wrong
    check_bytes(of_all + num_envs * of_life, {"num_envs": num_envs} | large)


def _is_large(name: str, value: Any) -> bool:
    return name not in ("num_envs", "seed", "life_episodes") and isinstance(value, int) and value >= _LARGE


def _held(stream: Any) -> tuple[float, float]:
    """Return the bytes that a stream of one life holds for all lives, and for one."""
    stream.close()
    inner = [stream, *(value for value in vars(stream).values() if hasattr(value, "__dict__"))]
    arrays = {id(x): x.nbytes for of in inner for x in vars(of).values() if isinstance(x, np.ndarray)}
    return _TASK * len(stream.tasks), float(sum(arrays.values()) + _ENV * len(getattr(stream, "_envs", ())))
