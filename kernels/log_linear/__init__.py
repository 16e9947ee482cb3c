"""A fast-weight matrix on levels: the recent past in many small ones, the distant past in few large ones."""

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
    """Run the recurrence of `reference.py`, where the arguments are explained, a chunk at a time.

    Raises:
        ValueError: if arguments do not fit each other, naming the one.
    """
    check(q, k, v, rate, decay, scale, state, count, start, rule)
    return chunk(q, k, v, rate, decay, scale, state, count, start, rule=rule)
