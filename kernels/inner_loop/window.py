"""Sliding windows of pairs: a step is trained on the last c pairs of its life, those of earlier passes among them.

The c - 1 pairs kept from before a pass stand before its own; one that is not there has no weight. A window reaches over
the edge of a mini-batch, not over a start.

Shapes: B lives, T steps, N mini-batches, C slots of each, S = c - 1 + C pairs that a mini-batch sees.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .schedule import Schedule

__all__ = ["Windows", "last_pairs", "lives_of_pairs", "windows"]


class Windows(NamedTuple):
    """Pairs in the windows of every mini-batch's steps."""

    pair: Tensor
    """[B, N, S] int64, place of each among all pairs of the pass."""
    seen: Tensor
    """[B, N, C, S] bool, true where the step in a slot is trained on the pair."""

    def gather(self, z: Tensor) -> Tensor:
        """Return [B, N, H, S, ...] of the pairs [B, c - 1 + T, H, ...]."""
        lives = torch.arange(z.shape[0], device=z.device)[:, None, None]
        return z[lives, self.pair].movedim(3, 2)


def windows(plan: Schedule, start: Tensor, past: int) -> Windows:
    """Return the windows of every mini-batch.

    Args:
        plan: the mini-batches.
        start: [B, T] bool, true where a step is the first of a life.
        past: c - 1.
    """
    (B, T), device = start.shape, start.device
    slot, column = torch.arange(plan.slots, device=device), torch.arange(past + plan.slots, device=device)
    steps = torch.arange(T, device=device).expand(B, T)
    begin = torch.where(plan.there, plan.lay_out(steps) - slot, -(2**31)).amax(2)  # [B, N] when slot 0 is, or was
    pair = begin[..., None] + column
    known = (pair >= 0) & (pair < past + T)
    pair = pair.clamp(0, past + T - 1)
    life = lives_of_pairs(start, past).gather(1, pair.flatten(1)).view_as(pair)
    same = plan.lay_out(start.cumsum(1))[..., None] == life[:, :, None]  # [B, N, C, S]
    age = slot[:, None] + past - column  # [C, S]
    return Windows(pair, same & known[:, :, None] & plan.there[..., None] & (age >= 0) & (age <= past))


def lives_of_pairs(start: Tensor, past: int) -> Tensor:
    """Return the number of the life of each pair, [B, c - 1 + T]: 0 is the incoming one."""
    return functional.pad(start.cumsum(1), (past, 0))


def last_pairs(z: Tensor, start: Tensor) -> Tensor:
    """Return the pairs that the next pass needs, [B, c - 1, ...], zero where their life has ended.

    Args:
        z: [B, c - 1 + T, ...] keys, values or weights.
        start: [B, T] bool, true where a step is the first of a life.
    """
    T = start.shape[1]
    life = lives_of_pairs(start, z.shape[1] - T)
    same = life[:, T:] == life[:, -1:]
    return torch.where(same.view(*same.shape, *[1] * (z.ndim - 2)), z[:, T:], 0.0)
