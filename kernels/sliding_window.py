r"""Banded attention: in a pass over T steps, each sees itself and the W - 1 steps before it, of its own life only.

    p_ts = softmax over the s that t sees of  score_ts
    y_t = sum_s p_ts v_s

The W - 1 steps before the pass come from a cache whose last `count` rows are valid: a row counts by that, never by
being zero, since a zero key would still get its share of the softmax. Time is cut into N blocks of C = min(T, W) steps.

Shapes: B lives, T steps, H heads, K key dim, V value dim, W steps seen, N blocks, C steps in a block, S = W - 1 + C
steps that a block sees.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.segments import pad_time

__all__ = ["Band"]


class Band:
    """Attention mask of one pass over a sliding window.

    Attributes:
        age: [C, S] how many steps before its viewer a step is; negative where it lies ahead.
        kept: [B, W - 1] bool, which of the last W - 1 steps belong to the life that goes on after the pass.

    Args:
        count: [B, 1] valid rows of the cache.
        start: [B, T] bool, true where a step is the first of a life.
        cache: W, steps that a step sees, itself among them.
    """

    def __init__(self, count: Tensor, start: Tensor, cache: int) -> None:
        self.steps, self.past = start.shape[1], cache - 1
        self.size = min(self.steps, cache)
        self.extra = -self.steps % self.size
        empty = torch.arange(self.past, device=start.device) < self.past - count  # [B, W - 1]
        lives = torch.cat([-empty.long(), start.cumsum(1)], 1)  # 0: the incoming life, -1: no step at all
        self.kept = lives[:, self.steps :] == lives[:, -1:]
        # steps padded at the end are one more life, so that every row of the softmax has an entry
        lives = functional.pad(lives, (0, self.extra), value=-2).unfold(1, self.past + self.size, self.size)
        steps = torch.arange(self.past + self.size, device=start.device)
        self.age = steps[self.past :, None] - steps
        self.seen = (self.age >= 0) & (self.age <= self.past)
        self.seen = self.seen & (lives[..., self.past :, None] == lives[..., None, :])  # [B, N, C, S]

    def rows(self, q: Tensor) -> Tensor:
        """Cut queries into blocks: [B, T, ...] -> [B, N, C, ...]."""
        return pad_time(q, self.size)

    def columns(self, k: Tensor) -> Tensor:
        """Cut keys or values into those visible to each block: [B, W - 1 + T, H, K] -> [B, N, H, K, S]."""
        return functional.pad(k, (0, 0, 0, 0, 0, self.extra)).unfold(1, self.past + self.size, self.size)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return q^T k, [B, N, H, C, S].

        Args:
            q: [B, T, H, K] queries.
            k: [B, W - 1 + T, H, K] keys, those of the cache first.
        """
        return torch.einsum("bnchk,bnhks->bnhcs", self.rows(q), self.columns(k))

    def mix(self, scores: Tensor, v: Tensor, others: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the mean of the values seen, [B, T, H, V], weighted by the softmax of their scores.

        Args:
            scores: [B, N, H, C, S].
            v: [B, W - 1 + T, H, V] values, those of the cache first.
            others: further entries of each step: scores [B, T, H, E] (-inf: masked) and values [B, T, E, H, V].
        """
        scores = scores.masked_fill(~self.seen[:, :, None], -torch.inf)
        if others is not None:
            scores = torch.cat([scores, self.rows(others[0]).transpose(2, 3)], -1)
        weight = scores.softmax(-1)  # [B, N, H, C, S + E]
        width = self.past + self.size
        y = torch.einsum("bnhcs,bnhvs->bnchv", weight[..., :width], self.columns(v))
        if others is not None:
            y = y + torch.einsum("bnhce,bncehv->bnchv", weight[..., width:], self.rows(others[1]))
        return y.flatten(1, 2)[:, : self.steps]

    def keep(self, k: Tensor) -> Tensor:
        """Return the cache after the pass, [B, W - 1, ...], from its rows [B, W - 1 + T, ...]; zero where empty."""
        kept = self.kept.view(*self.kept.shape, *[1] * (k.ndim - 2))
        return torch.where(kept, k[:, self.steps :], 0.0)
