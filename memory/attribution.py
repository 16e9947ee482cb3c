r"""Attribute what a memory reads to the earlier steps that wrote it.

    y_T = S_T q_T = S_0 u_0 + sum_t c_t,    c_t = (k_t^T u_t) v_t      u_t: the query, taken back through later steps

An identity, no estimate: the terms add up to the reading to the last digits. Given keys, values, gates and, in a
posterior, importances, as they were lived; how these came about is not asked. What is attributed is the reading of the
matrix, before norm, gate and output map, and without what the present adds beside the matrix.

Shapes: B lives, T steps, H heads, V value dim, with a normaliser one row more.
Cost: a pass over the T steps, and one back.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lifelong.kernels.writes import Writes, contributions

__all__ = ["Attribution", "attribute"]


class Attribution(NamedTuple):
    """What each step contributes to the reading after the last one."""

    contributions: Tensor
    """[B, T, H, V] of each step's write; zero before the last start of a life."""
    initial: Tensor
    """[B, H, V] of the state before the first step."""
    reading: Tensor
    """[B, H, V] what is read: the sum of all."""

    @property
    def shares(self) -> Tensor:
        """Share [B, 1 + T] of the initial state and of each step in the reading; they add up to 1.

        The part of a contribution along the reading, (c^T y) / (y^T y), as a mean over heads; negative for a step that
        the others had to outweigh. Heads that read nothing are left out, and where all do, shares are 0.
        """
        terms = torch.cat([self.initial[:, None], self.contributions], 1)
        size = self.reading.square().sum(-1)  # [B, H]
        along = (terms * self.reading[:, None]).sum(-1) / size.clamp(min=torch.finfo(size.dtype).tiny)[:, None]
        heard = (size > 0).sum(-1).clamp(min=1)
        return along.sum(-1) / heard[:, None]


def attribute(calls: list[Writes], steps: int) -> Attribution:
    """Attribute the reading of the last recurrence that ran.

    Args:
        calls: the recurrences of a pass, as recorded: the last one over all steps, or one a step.
        steps: T of the pass; a recurrence may run several times as many, as pairs or corrections of one step.
    """
    writes = calls[-1]
    if writes.k.shape[1] < steps:
        chain = calls[-steps:]
        joined: dict[str, Any] = {
            name: None if getattr(writes, name) is None else torch.cat([getattr(call, name) for call in chain], 1)
            for name in ("k", "v", "start", "decay", "erase", "erase_key")
        }
        writes = writes._replace(state=chain[0].state, **joined)
    each, initial = contributions(writes)
    return Attribution(each.unflatten(1, (steps, -1)).sum(2), initial, writes.reading)
