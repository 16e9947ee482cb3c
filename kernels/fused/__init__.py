"""Fused elementwise operations around a recurrence: before it, after it, and the gated product of the MLPs."""

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from lifelong.kernels.backends import Backend, pick
from lifelong.kernels.short_conv.reference import check

from . import reference
from .reference import EPS, check_qkv

__all__ = ["EPS", "bind_linear", "bind_norm", "gated_linear", "gated_norm", "qkv"]


def qkv(
    x: Tensor,
    weight: Tensor,
    state: Tensor,
    start: Tensor,
    num_heads: int,
    key_dim: int,
    unit: bool = True,
    *,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.qkv` by the fastest back end for these tensors; arguments as there.

    `backend` selects one: "reference", "cpu", the compiled loop, or "triton", as of the other operations here;
    the last two are differentiable only once.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument, or `backend` does not fit the tensors.
    """
    check(x, weight, state, start)
    check_qkv(x, num_heads, key_dim)
    form = _form(backend, max(key_dim, x.shape[-1] // num_heads - 2 * key_dim), x, weight, state)
    q, k, v, after = form.qkv(x, weight, state, start, num_heads, key_dim, unit)
    return q, k, v, after


def gated_norm(x: Tensor, weight: Tensor, gate: Tensor | None = None, *, backend: Backend = "auto") -> Tensor:
    """Compute `reference.gated_norm` by the fastest back end for these tensors; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument, or `backend` does not fit the tensors.
    """
    if list(weight.shape) != [x.shape[-1]]:
        raise ValueError(f"weight must be {[x.shape[-1]]}, got {list(weight.shape)}")
    if gate is not None and gate.shape != x.shape:
        raise ValueError(f"gate must be {list(x.shape)}, got {list(gate.shape)}")
    y: Tensor = _form(backend, x.shape[-1], x, weight, gate).gated_norm(x, weight, gate)
    return y


def gated_linear(z: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Compute `reference.gated_linear` by the fastest back end for these tensors; arguments as there.

    Raises:
        ValueError: if z has no two halves, or `backend` does not fit the tensors.
    """
    if z.shape[-1] % 2:
        raise ValueError(f"z must have an even number of channels, got {z.shape[-1]}")
    y: Tensor = _form(backend, 1, z).gated_linear(z)
    return y


def bind_norm(x: Tensor, weight: Tensor, y: Tensor) -> Callable[[], None]:
    """Return a call that writes `gated_norm` of x, as it then is, into y.

    Without gradients; all contiguous, in float32 on the CPU.
    """
    from .cpu import bind_norm as bind  # numba is imported at the first use

    return bind(x, weight, y)


def bind_linear(z: Tensor, y: Tensor) -> Callable[[], None]:
    """Return a call that writes `gated_linear` of z, as it then is, into y; as `bind_norm`."""
    from .cpu import bind_linear as bind

    return bind(z, y)


def _form(backend: Backend, widest: int, first: Tensor, *others: Tensor | None) -> ModuleType:
    """Return the module to run, for sums over at most `widest` channels."""
    chosen = pick(backend, first, *others)
    if chosen == "cpu":
        if first.dtype == torch.float32:
            from . import cpu  # numba is imported at the first use

            return cpu
        if backend == "cpu":
            raise ValueError("backend 'cpu' is compiled for float32 only, got float64")
    if chosen == "triton":
        from . import triton_step  # and so is triton

        if not first.numel():
            reason = f"needs at least one number, got {list(first.shape)}"
        elif widest > triton_step.WIDEST:
            reason = f"sums over at most {triton_step.WIDEST} channels, got {widest}"
        else:
            return triton_step
        if backend == "triton":
            raise ValueError(f"backend 'triton' {reason}")
    return reference
