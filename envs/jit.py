"""Loops compiled by numba: what natively batched streams share.

Compiled loops are kept on disk until the file they stand in changes, and only that file is looked at: whatever a loop
calls, and every constant it reads, must stand there too. They let go of Python's lock.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

try:
    import numba
except ImportError as error:
    raise ImportError(f"this stream needs numba, which cannot be imported: pip install numba ({error})") from error

__all__ = ["jit", "ufunc"]

P = ParamSpec("P")
R = TypeVar("R")


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop at its first call, and keep the result on disk where a folder can be written."""
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    try:
        compiled: Callable[P, R] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # there is no folder the result could be kept in
        compiled = numba.njit(**options)(function)
    return compiled


def ufunc(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of numbers to one of arrays, of numpy's kind, at its first call; kept as by `jit`."""
    vectorize: Any = numba.vectorize
    try:
        compiled: Callable[P, R] = vectorize(cache=True)(function)
    except RuntimeError:
        compiled = vectorize()(function)
    return compiled
