"""The numba compiler settings and the thread pool of every `cpu.py`.

Work is cut into one span of rows (heads, lives or blocks) per thread. The loops release Python's lock, so plain threads
run them; numba's own threads would double the compile time, and would not survive a fork.

Compiled loops are cached on disk until their own file changes: functions and constants that a loop uses must be in the
same file.
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np
import torch
from numba.core.compiler import Compiler
from torch import Tensor

from lifelong.compiled_cache import ForgivingCache

__all__ = ["Array", "Arrays", "jit", "rows", "spread"]

Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]
P = ParamSpec("P")
R = TypeVar("R")

FAST = {
    "contract",
    "reassoc",
    "nsz",
}  # sums may be reordered, so that they vectorise; NaN and infinity stay exact
LEAST = 1 << 20  # minimal state numbers for a second thread to pay off


class _Apart(Compiler):
    """numba's compiler with `noalias`: no two arguments share written memory, so loops need no check."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)  # type: ignore[no-untyped-call]
        self.state.flags.noalias = True


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop at its first call, cached on disk where a folder is writable.

    Loops are inlined into their callers: a call may reach a copy that was compiled by itself, or, once the caller comes
    from the cache, the caller's own, whose sums may be in another order.
    """
    options: dict[str, Any] = {
        "fastmath": FAST, "error_model": "numpy", "nogil": True, "forceinline": True, "pipeline_class": _Apart,
        "no_cfunc_wrapper": True,  # nobody passes a loop to a loop; 7 % of the time to compile
    }  # fmt: skip
    try:
        compiled: Any = numba.njit(cache=True, **options)(function)
        compiled._cache = ForgivingCache(compiled._cache)
    except RuntimeError:  # no cache folder is writable
        compiled = numba.njit(**options)(function)
    loop: Callable[P, R] = compiled
    return loop


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="lifelong-kernel")


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def spread(span: Callable[[int, int, Arrays], None], count: int, work: int, arrays: Arrays) -> None:
    """Run a loop over all rows, on no more threads than torch may use.

    Args:
        span: called as `span(first, last, arrays)` for the rows from `first` to before `last`.
        count: number of independent rows, such as B H recurrences.
        work: state numbers touched by each.
        arrays: inputs and outputs of the loop.
    """
    threads = 1 if count * work < LEAST else min(torch.get_num_threads(), count)
    cuts = [count * n // threads for n in range(threads + 1)]
    others = [_pool().submit(span, cuts[n], cuts[n + 1], arrays) for n in range(1, threads)]
    span(0, cuts[1], arrays)
    for other in others:
        other.result()


def rows(dtype: torch.dtype, *tensors: Tensor | None) -> Arrays:
    """Return the tensors' own memory as rows of their last axis; None becomes an empty array."""
    missing = torch.empty((0, 0), dtype=dtype)
    return tuple((missing if tensor is None else tensor.view(-1, tensor.shape[-1])).numpy() for tensor in tensors)
