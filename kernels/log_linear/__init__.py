"""Fast-weight recurrence on levels of 1, 1, 2, 4, 8, ... steps of the past (log-linear attention)."""

import torch
from torch import Tensor

from lifelong.kernels.backends import pick

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
    """Compute `reference.log_linear` by the faster back end for this length; arguments as there.

    One step without gradients is compiled on the CPU; everything else goes in chunks.

    Raises:
        ValueError: if arguments do not fit each other, naming the one.
    """
    check(q, k, v, rate, decay, scale, state, count, start, rule)
    form, given = chunk, (q, k, v, rate, decay, scale, state)
    recorded = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    if q.shape[1] == 1 and not recorded and pick("auto", *given) == "cpu":
        from .cpu_step import log_linear as form  # numba is imported at the first use
    return form(q, k, v, rate, decay, scale, state, count, start, rule=rule)
