"""Softmax attention over the last steps of a life, whose cache is a ring: a step writes one row of it."""

import torch
from torch import Tensor

from lifelong.kernels.backends import pick

from .chunk import ring_attention as chunk
from .reference import Others, check

__all__ = ["Others", "ring_attention"]


def ring_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    keys: Tensor,
    values: Tensor,
    count: Tensor,
    start: Tensor,
    others: Others | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.ring_attention` by the faster back end for this length; arguments as there.

    One step without gradients is compiled on the CPU; everything else is a pass in matrix products.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(q, k, v, bias, keys, values, count, start, others)
    given = (q, k, v, bias, keys, values, *(others or ()))
    recorded = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    form = chunk
    if q.shape[1] == 1 and not recorded and pick("auto", *given) == "cpu":
        from .cpu_step import ring_attention as form  # numba is imported at the first use
    return form(q, k, v, bias, keys, values, count, start, others)
