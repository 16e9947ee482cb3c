"""Select a recurrence's back end: reference loop, matrix form in torch, or compiled by numba or Triton."""

import functools
import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = ["Backend", "compiled", "loops_only", "pick", "plain_loops", "transformed"]

Backend = Literal["auto", "reference", "chunk", "cpu", "triton"]

_auto: Backend = "auto"  # the back end that "auto" selects; see `plain_loops`


@contextmanager
def plain_loops() -> Iterator[None]:
    """Make "auto" select the reference loop inside the block; not thread-safe.

    For profiling a step operation by operation, and for debugging compiled back ends.
    """
    global _auto
    before, _auto = _auto, "reference"
    try:
        yield
    finally:
        _auto = before


def pick(backend: Backend, *tensors: Tensor | None) -> Backend:
    """Return the back end to run, never "auto".

    Args:
        backend: the requested one; "auto" takes Triton on a GPU, numba for float32 and float64 on the CPU, and
            otherwise the matrix form, or the reference loop for a single step.
        tensors: the arguments of floating point, [B, T, ...] first; None are left out.

    Raises:
        ValueError: if `backend` is unknown, or does not fit the tensors: "cpu" needs them all in float32 or all in
            float64 on the CPU, "triton" on a GPU, or its interpreter (`TRITON_INTERPRET=1`).
        ImportError: if the package of `backend` cannot be imported.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
    backend = _auto if backend == "auto" else backend
    if backend in ("reference", "chunk"):
        return backend
    kinds = {(x.device.type, x.dtype) for x in tensors if x is not None}
    fits = kinds in ({("cpu", torch.float32)}, {("cpu", torch.float64)})
    on_gpu = {device for device, _ in kinds} == {"cuda"}
    if backend == "cpu" and not fits:
        raise ValueError(
            f"backend 'cpu' needs all tensors in float32, or all in float64, on the CPU, got {_listed(kinds)}"
        )
    if backend == "triton" and not on_gpu and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"backend 'triton' needs all tensors on a GPU, got {_listed(kinds)}")
    if backend != "auto":
        return backend
    if not transformed():
        if on_gpu and triton_works():
            return "triton"
        if fits and not torch.compiler.is_compiling() and numba_works():
            return "cpu"
    first = tensors[0]
    return "reference" if first is not None and first.shape[1] == 1 else "chunk"


def compiled(*tensors: Tensor) -> bool:
    """Return whether loops compiled for float32 on the CPU are what "auto" takes for these tensors."""
    return all(x.dtype == torch.float32 for x in tensors) and pick("auto", *tensors) == "cpu"


def transformed() -> bool:
    """Return whether a transform of torch.func (grad, vmap, ...) is running, which sees through plain torch only."""
    return torch._C._are_functorch_transforms_active()


def loops_only() -> bool:
    """Return whether torch.func transforms or torch.export traces: neither sees a branch that depends on data."""
    return transformed() or torch.compiler.is_exporting()


def _listed(kinds: set[tuple[str, torch.dtype]]) -> str:
    return ", ".join(sorted(f"{dtype} on {device}" for device, dtype in kinds))


@functools.cache
def numba_works() -> bool:
    """Return whether numba can be imported; warn once if not."""
    return _imports(
        "numba", "memories on the CPU fall back to plain torch, several times slower in training and acting"
    )


@functools.cache
def triton_works() -> bool:
    """Return whether triton can be imported; warn once if not."""
    return _imports("triton", "memories on the GPU fall back to plain torch, many launches for every step")


def _imports(name: str, loss: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError as error:
        warnings.warn(
            f"{name} cannot be imported ({error}): {loss}; `pip install {name}` brings the compiled form back",
            RuntimeWarning,
            stacklevel=5,
        )
        return False
    return True
