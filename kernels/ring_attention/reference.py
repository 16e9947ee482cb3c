r"""Softmax attention over the last W steps of a life, one step at a time.

    p_ts = softmax over the s that t sees of  q_t^T k_s + b[t - s],  and of the scores of other entries
    y_t = sum_s p_ts v_s + sum_e p_te u_e

The W - 1 steps before a pass are in a cache of N = W - 1 rows, a ring: step t is written over the oldest row, whose
place moves on by one. `count` says both how many rows are in use, n, and which is written next, i: count = n + W i.
Row r is (i - 1 - r) mod N + 1 steps old. A row counts by that, never by being zero, since a zero key would still get
its share of the softmax; rows that are not in use are zero. Where a life starts count = 0.

Shapes: B lives, T steps, H heads, K key dim, V value dim, E other entries of a step.
Traffic per step and head: n (K + V) numbers of the cache are read, K + V are written.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["Others", "check", "in_use", "ring_attention"]

Others = tuple[Tensor, Tensor]
"""Scores [B, T, H, E] and values [B, T, E, H, V] of further entries that a step sees."""


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
    """Write and read at every step.

    Args:
        q: [B, T, H, K] queries, already scaled.
        k: [B, T, H, K] keys.
        v: [B, T, H, V] values.
        bias: [H, W] b, of every distance.
        keys: [B, W - 1, H, K] of the steps before the first one.
        values: [B, W - 1, H, V] likewise.
        count: [B, 1] int64, rows in use plus W times the row that is written next.
        start: [B, T] bool, true where a step is the first of a life.
        others: further entries of each step; None for none.

    Returns:
        y: [B, T, H, V] readings.
        keys: [B, W - 1, H, K] after the last step.
        values: [B, W - 1, H, V] likewise.
        count: [B, 1] likewise.
    """
    (B, N), W, ys = keys.shape[:2], bias.shape[1], []
    row, lives = torch.arange(N, device=q.device), torch.arange(B, device=q.device)
    for t in range(q.shape[1]):
        used, place = in_use(count.masked_fill(start[:, t, None], 0), W)
        age = (place - 1 - row) % N + 1  # [B, N]
        keys, values = (z.masked_fill((age > used)[..., None, None], 0.0) for z in (keys, values))
        scores = torch.einsum("bhk,bnhk->bnh", q[:, t], keys) + bias[:, age].permute(1, 2, 0)
        scores = scores.masked_fill((age > used)[..., None], -torch.inf)
        own = (q[:, t] * k[:, t]).sum(-1) + bias[:, 0]
        scores, seen = torch.cat([scores, own[:, None]], 1), torch.cat([values, v[:, t, None]], 1)
        if others is not None:
            scores = torch.cat([scores, others[0][:, t].mT], 1)
            seen = torch.cat([seen, others[1][:, t]], 1)
        ys.append(torch.einsum("bnh,bnhv->bhv", scores.softmax(1), seen))
        written = (lives[:, None], place)
        keys, values = keys.index_put(written, k[:, t, None]), values.index_put(written, v[:, t, None])
        count = (used + 1).clamp(max=N) + W * ((place + 1) % N)
    return torch.stack(ys, 1), keys, values, count


def in_use(count: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return the number of rows in use and the row that is written next, [B, 1] each, of `count` at W = `window`."""
    return count % window, count // window


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    keys: Tensor,
    values: Tensor,
    count: Tensor,
    start: Tensor,
    others: Others | None,
) -> None:
    """Validate shapes and dtypes; the arguments are those of `ring_attention`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    (B, T, H, K), V, W = q.shape, v.shape[-1], bias.shape[-1]
    if W < 2:
        raise ValueError(f"bias must be of 2 distances or more, got {W}")
    scores, entries = others or (None, None)
    E = 0 if scores is None else scores.shape[-1]
    wanted = {
        "k": (k, [B, T, H, K]),
        "v": (v, [B, T, H, V]),
        "bias": (bias, [H, W]),
        "keys": (keys, [B, W - 1, H, K]),
        "values": (values, [B, W - 1, H, V]),
        "count": (count, [B, 1]),
        "start": (start, [B, T]),
        "other scores": (scores, [B, T, H, E]),
        "other values": (entries, [B, T, E, H, V]),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    if count.dtype != torch.int64:
        raise ValueError(f"count must be int64, got {count.dtype}")
    tensors = {name: tensor for name, (tensor, _) in wanted.items()}
    examine({"q": q, **tensors}, states=("keys", "values"))
