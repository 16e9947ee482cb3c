"""Which form of a recurrence to run: the plain loop, torch in matrix form, or the loop compiled by numba."""

import functools
import warnings
from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = ["Backend", "pick"]

Backend = Literal["auto", "reference", "chunk", "cpu"]


def pick(backend: Backend, *tensors: Tensor | None) -> Backend:
    """Return the back end to run, never "auto".

    Args:
        backend: what was asked for; "auto" takes the compiled loop for float32 and float64 on the CPU, and otherwise
            the matrix form, or the plain loop for a single step.
        tensors: the arguments of floating point, [B, T, ...] first; None are left out.

    Raises:
        ValueError: if `backend` is unknown, or "cpu" and the tensors are not all float32 or all float64 on the CPU.
        ImportError: if `backend` is "cpu" and numba cannot be imported.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
    if backend in ("reference", "chunk"):
        return backend
    kinds = {(x.device.type, x.dtype) for x in tensors if x is not None}
    fits = kinds in ({("cpu", torch.float32)}, {("cpu", torch.float64)})
    if backend == "cpu":
        if not fits:
            got = ", ".join(sorted(f"{dtype} on {device}" for device, dtype in kinds))
            raise ValueError(f"backend 'cpu' needs all tensors in float32, or all in float64, on the CPU, got {got}")
        return "cpu"
    if fits and not torch.compiler.is_compiling() and numba_works():
        return "cpu"
    first = tensors[0]
    return "reference" if first is not None and first.shape[1] == 1 else "chunk"


@functools.cache
def numba_works() -> bool:
    """Return whether numba can be imported, and say once what is lost where it cannot."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        warnings.warn(
            f"numba cannot be imported ({error}): memories on the CPU fall back to plain torch, "
            "several times slower in training and acting; `pip install numba` brings the compiled loops back",
            RuntimeWarning,
            stacklevel=4,
        )
        return False
    return True
