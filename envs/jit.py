"""The numba compiler settings of natively batched streams.

Compiled loops are cached on disk until their own file changes: functions and constants that a loop uses must be in the
same file. They release Python's lock.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from lifelong.compiled_cache import ForgivingCache

try:
    import numba
except ImportError as error:
    raise ImportError(f"this stream needs numba, which cannot be imported: pip install numba ({error})") from error

__all__ = ["jit", "ufunc"]

P = ParamSpec("P")
R = TypeVar("R")


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop at its first call, cached on disk where a folder is writable."""
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
    try:
        compiled: Any = numba.njit(cache=True, **options)(function)
        compiled._cache = ForgivingCache(compiled._cache)
    except RuntimeError:  # no cache folder is writable
        compiled = numba.njit(**options)(function)
    loop: Callable[P, R] = compiled
    return loop


def ufunc(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a scalar function to a numpy ufunc at its first call, cached as by `jit`."""
    vectorize: Any = numba.vectorize
    try:
        compiled: Any = vectorize(cache=True)(function)
        compiled._dispatcher.cache = ForgivingCache(compiled._dispatcher.cache)
    except RuntimeError:
        compiled = vectorize()(function)
    loop: Callable[P, R] = compiled
    return loop
