"""Fast-weight recurrence of linear memories: decay, erase, write and read a matrix at every step."""

from torch import Tensor

from lifelong.kernels.backends import Backend, pick
from lifelong.kernels.writes import record, recording

from .chunk import fast_weight as chunk
from .reference import check, fast_weight as reference

__all__ = ["fast_weight"]

FEW = 256  # steps up to which one launch is faster than chunks


def fast_weight(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    decay: Tensor | None = None,
    erase: Tensor | None = None,
    erase_key: Tensor | None = None,
    rate: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Compute `reference.fast_weight` by the fastest back end for these tensors; arguments as there.

    `backend` selects one: "reference", "chunk", "cpu", the loop compiled for the CPU, or "triton", for a GPU; the
    last two are differentiable only once.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit each other, naming the argument, or `backend` does not fit
            the tensors; under `LIFELONG_DEBUG=1` also if a number is not finite.
    """
    check(q, k, v, state, start, decay, erase, erase_key, rate)
    chosen = pick(backend, q, k, v, state, decay, erase, erase_key, rate)
    if chosen in ("reference", "chunk"):
        form = reference if chosen == "reference" else chunk
    elif chosen == "cpu":
        from .cpu import fast_weight as form  # numba is imported at the first use
    elif q.shape[1] <= FEW:
        from .triton_step import fast_weight as form  # and so is triton
    else:
        from .triton_chunk import fast_weight as form
    y, after = form(q, k, v, state, start, decay=decay, erase=erase, erase_key=erase_key, rate=rate)
    if recording():
        u, last = q[:, -1, :, None], y[:, -1]
        record(u, last, k, v, state, start, decay=decay, erase=erase, erase_key=erase_key, rate=rate)
    return y, after
