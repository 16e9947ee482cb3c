r"""Softmax attention over the pairs of the largest writes of a life, one step at a time.

    keep (k_t, v_t) with its score s_t: the w pairs of the largest scores so far, of equal ones the earlier
    p_ts = softmax over these, t itself, and a sink of value 0 and score d  of  q_t^T k_s / rms(k_s)
    y_t = sum_s p_ts v_s

rms(k) = sqrt(mean k^2 + eps). Pairs are in the order in which they came, empty slots behind them with the score -1.
Gradients flow through pairs kept and read, not through the choice.

Shapes: B lives, T steps, H heads, K key dim, V value dim, w slots.
Source: arXiv:2607.02303, equations 6 and 7.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.arguments import examine
from lifelong.kernels.fused import EPS

__all__ = ["check", "largest_writes"]


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
    """Write and read the cache at every step.

    Args:
        q: [B, T, H, K] queries, already scaled.
        k: [B, T, H, K] keys.
        v: [B, T, H, V] values.
        score: [B, T, H] int64, at least 0, of the pair of each step.
        sink: [H] d.
        keys: [B, w, H, K] of the cache before the first step.
        values: [B, w, H, V] likewise.
        scores: [B, w, H] int64 likewise; -1 where a slot is empty.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        y: [B, T, H, V] readings.
        keys: [B, w, H, K] after the last step.
        values: [B, w, H, V] likewise.
        scores: [B, w, H] likewise.
    """
    w, ys = keys.shape[1], []
    for t in range(q.shape[1]):
        new = start[:, t, None, None]
        scores = torch.cat([scores.masked_fill(new, -1), score[:, t, None]], 1)  # [B, w + 1, H]
        keys = torch.cat([keys.masked_fill(new[..., None], 0.0), k[:, t, None]], 1)
        values = torch.cat([values.masked_fill(new[..., None], 0.0), v[:, t, None]], 1)
        best = scores.argsort(dim=1, descending=True, stable=True)[:, :w]
        kept = torch.zeros_like(scores).scatter(1, best, 1).bool() & (scores >= 0)
        seen = torch.cat([kept[:, :-1], torch.ones_like(kept[:, -1:])], 1)
        unit = functional.rms_norm(keys, keys.shape[-1:], eps=EPS)
        fit = torch.einsum("bhk,bnhk->bnh", q[:, t], unit).masked_fill(~seen, -torch.inf)
        weight = torch.cat([fit, sink.expand(len(fit), 1, -1)], 1).softmax(1)[:, :-1]
        ys.append(torch.einsum("bnh,bnhv->bhv", weight, values))
        order = (
            (~kept).long().argsort(dim=1, stable=True)[:, :w]
        )  # those that are kept, in the order in which they came
        kept = kept.gather(1, order)
        scores = scores.gather(1, order).masked_fill(~kept, -1)
        keys, values = (_rows(z, order).masked_fill(~kept[..., None], 0.0) for z in (keys, values))
    return torch.stack(ys, 1), keys, values, scores


def _rows(z: Tensor, order: Tensor) -> Tensor:
    """Return the rows [B, w, H, C] of z [B, n, H, C] that `order` [B, w, H] names."""
    return z.gather(1, order[..., None].expand(*order.shape, z.shape[-1]))


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Tensor,
    sink: Tensor,
    keys: Tensor,
    values: Tensor,
    scores: Tensor,
    start: Tensor,
) -> None:
    """Validate shapes and dtypes; the arguments are those of `largest_writes`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    (B, T, H, K), V, w = q.shape, v.shape[-1], keys.shape[1]
    wanted = {
        "k": (k, [B, T, H, K]),
        "v": (v, [B, T, H, V]),
        "score": (score, [B, T, H]),
        "sink": (sink, [H]),
        "keys": (keys, [B, w, H, K]),
        "values": (values, [B, w, H, V]),
        "scores": (scores, [B, w, H]),
        "start": (start, [B, T]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    for name, tensor in (("score", score), ("scores", scores)):
        if tensor.dtype != torch.int64:
            raise ValueError(f"{name} must be int64, got {tensor.dtype}")
    examine({"q": q, **{name: tensor for name, (tensor, _) in wanted.items()}}, states=("keys", "values"))
