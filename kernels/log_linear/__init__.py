"""Fast-weight recurrence on levels of 1, 1, 2, 4, 8, ... steps of the past (log-linear attention)."""

from torch import Tensor

from .chunk import log_linear as chunk
from .reference import Rule, check

__all__ = ["Rule", "log_linear"]


def log_linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    decay: Tensor,
    scale: Tensor,
    state: Tensor,
    count: Tensor,
    start: Tensor,
    *,
    rule: Rule = "delta",
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.log_linear` by the faster back end, in chunks; arguments as there.

    Raises:
        ValueError: if arguments do not fit each other, naming the one.
    """
    check(q, k, v, rate, decay, scale, state, count, start, rule)
    return chunk(q, k, v, rate, decay, scale, state, count, start, rule=rule)
