"""Elementwise linear recurrence: normalisers, and the state spaces S4D, S6, Longhorn."""

from torch import Tensor

from lifelong.kernels.backends import Backend, pick

from .chunk import linear_scan as chunk
from .reference import check, linear_scan as reference

__all__ = ["linear_scan"]

FEW = 32  # steps up to which one launch is faster than three


def linear_scan(
    u: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    write: Tensor | None = None,
    read: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Compute `reference.linear_scan` by the fastest back end for these tensors; arguments as there.

    `backend` selects one: "reference", "chunk", "cpu", the compiled loop, or "triton"; the last two are
    differentiable only once.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument, or `backend` does not fit the tensors.
    """
    check(u, decay, state, start, write, read)
    chosen = pick(backend, u, decay, state, write, read)
    if chosen in ("reference", "chunk"):
        form = reference if chosen == "reference" else chunk
    elif chosen == "cpu":
        from .cpu import linear_scan as form  # numba is imported at the first use
    elif u.shape[1] <= FEW:
        from .triton_step import linear_scan as form  # and so is triton
    else:
        from .triton_chunk import linear_scan as form
    return form(u, decay, state, start, write=write, read=read)
