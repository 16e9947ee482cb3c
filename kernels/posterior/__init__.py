"""A diagonal Gaussian posterior over a matrix: an evidence and an importance for every fast weight."""

from torch import Tensor

from .chunk import posterior as chunk
from .reference import check, posterior as reference

__all__ = ["posterior"]


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
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the recurrence of `reference.py` with the fastest form for this shape; arguments as there."""
    check(q, k, w, b, evidence, importance, start, prior, decay)
    form = reference if q.shape[1] == 1 else chunk
    return form(q, k, w, b, evidence, importance, start, prior=prior, decay=decay)
