"""Fused single step of a gated delta layer between its two projections, for acting."""

from collections.abc import Callable

import torch
from torch import Tensor

from lifelong.kernels.backends import Backend, pick

from .reference import check, layer_step as reference

__all__ = ["bind_layer_step", "layer_step"]


def layer_step(
    z: Tensor,
    bias: Tensor,
    conv: Tensor,
    norm: Tensor,
    window: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.layer_step` by the fastest back end for these tensors; arguments as there.

    With gradients it runs the plain operations: the compiled back ends are for acting.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit each other, naming the argument, or `backend` does not fit
            the tensors; under `LIFELONG_DEBUG=1` also if a number is not finite.
    """
    check(z, bias, conv, norm, window, state, start)
    tensors = (z, bias, conv, norm, window, state)
    chosen, form = pick(backend, *tensors), reference
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        pass
    elif chosen == "cpu" and z.itemsize == 4:
        from .cpu import layer_step as form  # numba is imported at the first use
    elif chosen == "triton":
        from .triton_step import layer_step as form  # and so is triton
    return form(z, bias, conv, norm, window, state, start)


def bind_layer_step(
    z: Tensor, bias: Tensor, conv: Tensor, norm: Tensor, window: Tensor, state: Tensor, start: Tensor, y: Tensor
) -> Callable[[], None]:
    """Return a call that computes `layer_step` in place, of tensors as they then are: float32 on the CPU, contiguous.

    Arguments are those of `reference.layer_step`, and y [B, H V], written over as window and state are; weights count
    as they are now.
    """
    from .cpu import bind

    return bind(z, bias, conv, norm, window, state, start, y)
