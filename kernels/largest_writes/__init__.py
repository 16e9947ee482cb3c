"""Softmax attention over the pairs of the largest writes of a life."""

import torch
from torch import Tensor

from lifelong.kernels.backends import pick

from .chunk import largest_writes as chunk
from .reference import check

__all__ = ["largest_writes"]


def largest_writes(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Tensor,
    sink: Tensor,
    keys: Tensor,
    values: Tensor,
    scores: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.largest_writes` by the faster back end for this length; arguments as there.

    One step without gradients is compiled on the CPU; everything else is a pass in matrix products.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(q, k, v, score, sink, keys, values, scores, start)
    given = (q, k, v, sink, keys, values)
    recorded = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    form = chunk
    if q.shape[1] == 1 and not recorded and pick("auto", *given) == "cpu":
        from .cpu_step import largest_writes as form  # numba is imported at the first use
    return form(q, k, v, score, sink, keys, values, scores, start)
