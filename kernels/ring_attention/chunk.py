"""Attention over a ring in matrix products: the ring is turned, oldest step first, before a pass and back after it."""

import torch
from torch import Tensor

from lifelong.kernels.segments import life_start_steps
from lifelong.kernels.sliding_window import Band

from .reference import Others, in_use

__all__ = ["ring_attention"]


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
    """Compute `reference.ring_attention`, all steps of a block together; arguments as there."""
    (B, T), N, W = start.shape, keys.shape[1], bias.shape[1]
    used, place = in_use(count, W)
    row, lives = torch.arange(N, device=q.device), torch.arange(B, device=q.device)[:, None]
    oldest_first = (place + row) % N
    band = Band(used, start, W)
    k, v = torch.cat([keys[lives, oldest_first], k], 1), torch.cat([values[lives, oldest_first], v], 1)
    y = band.mix(band.scores(q, k) + bias[:, band.age.clamp(0, N)], v, others)

    born = life_start_steps(torch.zeros_like(count), start)[:, -1:]  # 0 too where no life starts
    place = (torch.where(start.any(1, keepdim=True), 0, place) + T - born) % N
    back = (row - place) % N
    return y, band.keep(k)[lives, back], band.keep(v)[lives, back], band.kept.sum(1, keepdim=True) + W * place
