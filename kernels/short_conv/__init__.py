"""Causal depth-wise convolution with its window as state."""

from torch import Tensor

from lifelong.kernels.backends import Backend, pick

from .chunk import short_conv as chunk
from .reference import check, short_conv as reference

__all__ = ["short_conv"]


def short_conv(
    x: Tensor, weight: Tensor, state: Tensor, start: Tensor, *, backend: Backend = "auto"
) -> tuple[Tensor, Tensor]:
    """Compute `reference.short_conv` by the fastest back end for these tensors; arguments as there.

    `backend` selects one: "reference", "chunk", "cpu", the compiled loop, or "triton"; the last two are
    differentiable only once.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument, or `backend` does not fit the tensors.
    """
    check(x, weight, state, start)
    chosen = pick(backend, x, weight, state)
    if chosen in ("reference", "chunk"):
        form = reference if chosen == "reference" else chunk
    elif chosen == "cpu":
        from .cpu import short_conv as form  # numba is imported at the first use
    else:
        from .triton_step import short_conv as form  # and so is triton
    return form(x, weight, state, start)
