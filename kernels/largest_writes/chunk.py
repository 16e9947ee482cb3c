"""The cache of the largest writes in matrix products: a pair is kept at step t if fewer than w beat it so far.

Time is cut into blocks, so that only the pairs of one block and those of the cache are compared with each other.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.fused import EPS

__all__ = ["largest_writes"]

BLOCK = 64
"""Steps whose pairs are compared with each other at once."""


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
    """Compute `reference.largest_writes`, all steps of a block together; arguments as there."""
    cache, ys = [keys, values, scores], []
    for now in zip(*(z.split(BLOCK, 1) for z in (q, k, v, score, start)), strict=True):
        y, *cache = _block(sink, *now, *cache)
        ys.append(y)
    return torch.cat(ys, 1), cache[0], cache[1], cache[2]


def _block(sink: Tensor, q: Tensor, k: Tensor, v: Tensor, score: Tensor, start: Tensor, *cache: Tensor) -> list[Tensor]:
    """Read and write over a block of steps; return the readings [B, T, H, V] and the cache."""
    T, w = q.shape[1], cache[0].shape[1]
    k, v, score = (torch.cat(pair, 1) for pair in zip(cache, (k, v, score), strict=True))  # [B, n, H, ...], n = w + T
    lives = torch.cat([torch.zeros_like(score[:, :w, 0]), start.cumsum(1)], 1)  # [B, n]
    places = torch.arange(w + T, device=q.device)
    s, now = score.transpose(1, 2), places[w:, None]
    beats = (s[..., None] > s[..., None, :]) | ((s[..., None] == s[..., None, :]) & (places[:, None] < places))
    beats = beats & (lives[:, None, :, None] == lives[:, None, None])  # [B, H, n, n]
    beaten = beats[:, :, :w].sum(2, keepdim=True) + beats[:, :, w:].cumsum(2)  # [B, H, T, n], by steps so far
    ours = (lives[:, w:, None] == lives[:, None]) & (places <= now)
    keep = (beaten < w) & ours[:, None] & (s >= 0)[..., None, :]
    fit = torch.einsum("bthk,bnhk->bhtn", q, functional.rms_norm(k, k.shape[-1:], eps=EPS))
    fit = fit.masked_fill(~(keep | (places == now)), -torch.inf)
    rest = sink[:, None, None].expand(*fit.shape[:3], 1)
    y = torch.einsum("bhtn,bnhv->bthv", torch.cat([fit, rest], -1).softmax(-1)[..., :-1], v)
    last = keep[:, :, -1].transpose(1, 2)  # [B, n, H]
    order = last.long().argsort(dim=1, descending=True, stable=True)[:, :w]
    last, score = last.gather(1, order), score.gather(1, order)
    k, v = (z.gather(1, order[..., None].expand(-1, -1, -1, z.shape[-1])) for z in (k, v))
    k, v = (z.masked_fill(~last[..., None], 0.0) for z in (k, v))
    return [y, k, v, score.masked_fill(~last, -1)]
