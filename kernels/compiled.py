"""Loops compiled by numba: what every `cpu.py` shares.

Work is cut into one span of heads per thread. The span functions are plain loops; a short parallel function hands the
spans out, and is neither compiled nor called where one thread is enough.

Compiled loops are kept on disk until the file they stand in changes, and only that file is looked at: whatever a loop
calls, and every constant it reads, must stand there too.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np
import torch
from torch import Tensor

__all__ = ["Array", "Arrays", "jit", "jit_parallel", "rows", "spread"]

Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]
P = ParamSpec("P")
R = TypeVar("R")

FAST = {
    "contract",
    "reassoc",
    "nsz",
}  # sums may be reordered, so that they vectorise; NaN and infinity keep their meaning
LEAST = 1 << 20  # state numbers to touch before a second thread brings more than it costs


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop at its first call, and keep the result on disk where a folder can be written."""
    return _compile(function, nogil=True)


def jit_parallel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop whose `numba.prange` is shared among threads."""
    return _compile(function, parallel=True)


def _compile(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    options_all: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy", **options}
    try:
        compiled: Callable[P, R] = numba.njit(cache=True, **options_all)(function)
    except RuntimeError:  # there is no folder the result could be kept in
        compiled = numba.njit(**options_all)(function)
    return compiled


def spread(span: Callable[..., None], parallel: Callable[..., None], heads: int, work: int, arrays: Arrays) -> None:
    """Run `span(first, last, arrays)` over all heads, on no more threads than torch may use.

    Args:
        span: the loop over heads `first` to before `last`.
        parallel: called as `parallel(threads, heads, arrays)`, shares the heads among threads.
        heads: how many independent recurrences there are.
        work: state numbers touched by each.
        arrays: what the loop reads and writes.
    """
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS, heads)  # type: ignore[attr-defined]
    if threads == 1 or heads * work < LEAST:
        span(0, heads, arrays)
    else:
        numba.set_num_threads(threads)
        parallel(threads, heads, arrays)


def rows(dtype: torch.dtype, *tensors: Tensor | None) -> Arrays:
    """Return the tensors' own memory as rows of their last axis; None becomes an empty array."""
    missing = torch.empty((0, 0), dtype=dtype)
    return tuple((missing if tensor is None else tensor.view(-1, tensor.shape[-1])).numpy() for tensor in tensors)
