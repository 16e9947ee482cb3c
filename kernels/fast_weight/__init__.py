"""A matrix that is decayed, corrected, written and read at every step: most linear memories are this."""

from torch import Tensor

from .chunk import fast_weight as chunk
from .reference import check, fast_weight as reference

__all__ = ["fast_weight"]


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
) -> tuple[Tensor, Tensor]:
    """Run the recurrence of `reference.py` with the fastest form for this shape; arguments as there."""
    check(q, k, v, state, start, decay, erase, erase_key)
    form = reference if q.shape[1] == 1 else chunk
    return form(q, k, v, state, start, decay=decay, erase=erase, erase_key=erase_key)
