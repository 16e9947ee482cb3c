"""Diagonal Gaussian posterior over a matrix: evidence and importance of every fast weight."""

from torch import Tensor

from lifelong.kernels.backends import Backend, pick, transformed
from lifelong.kernels.writes import record, recording

from .chunk import posterior as chunk
from .reference import check, posterior as reference

__all__ = ["posterior"]

FEW = 256  # steps up to which one launch is faster than chunks


def posterior(
    q: Tensor,
    k: Tensor,
    w: Tensor,
    b: Tensor,
    evidence: Tensor,
    importance: Tensor,
    start: Tensor,
    *,
    prior: Tensor,
    decay: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.posterior` by the fastest back end for these tensors; arguments as there.

    `backend` selects one: "reference", "chunk", "cpu", the loop compiled for the CPU, or "triton", for a GPU; the
    last two are differentiable only once.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit each other, naming the argument, or `backend` does not fit
            the tensors; under `LIFELONG_DEBUG=1` also if a number is not finite.
    """
    check(q, k, w, b, evidence, importance, start, prior, decay)
    chosen = pick(backend, q, k, w, b, evidence, importance, prior, decay)
    if chosen in ("reference", "chunk"):
        form = reference if chosen == "reference" or transformed() else chunk  # which recomputes, by hooks
    elif chosen == "cpu":
        from .cpu import posterior as form  # numba is imported at the first use
    elif q.shape[1] <= FEW:
        from .triton_step import posterior as form  # and so is triton
    else:
        from .triton_chunk import posterior as form
    y, M, J = form(q, k, w, b, evidence, importance, start, prior=prior, decay=decay)
    if recording():
        record(q[:, -1, :, None] / (J + prior[:, None, None]), y[:, -1], k, w, evidence, start, decay=decay)
    return y, M, J
