r"""Attention over a cache that drops the least attended entry, never the last R, one step at a time.

    where the cache is full, drop the slot of the least score a_s among those older than the last R steps
    write (k_t, v_t) there, a_t = 0
    p_ts = softmax over the slots of  q_t^T k_s + b[min(t - s, R)]
    a_s <- a_s + p_ts, in 4096ths, rounded
    y_t = sum_s p_ts v_s

Every head has a cache of its own; a free slot is taken first. Gradients flow through the attention, not through the
choice.

Shapes: B lives, T steps, H heads, K key dim, V value dim, W slots.
Traffic per step and head: W (K + V) numbers of the cache are read, K + V are written.
Source: arXiv:2306.14048.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["UNIT", "check", "heavy_hitter"]

UNIT = 4096
"""Sum of a step's attention in units of the scores."""


def heavy_hitter(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    keys: Tensor,
    values: Tensor,
    score: Tensor,
    age: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Evict, write and read at every step.

    Args:
        q: [B, T, H, K] queries, already scaled.
        k: [B, T, H, K] keys.
        v: [B, T, H, V] values.
        bias: [H, R + 1] b, of the last R ages and of all that is older.
        keys: [B, W, H, K] before the first step.
        values: [B, W, H, V] likewise.
        score: [B, W, H] int64, attention so far in 4096ths.
        age: [B, W, H] int64, steps since a slot was written, at most R; -1: empty.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        y: [B, T, H, V] readings.
        keys, values, score, age: after the last step.
    """
    (W, H), recent, ys = keys.shape[1:3], bias.shape[1] - 1, []
    slots, head = torch.arange(W, device=q.device)[:, None], torch.arange(H, device=q.device)
    for t in range(q.shape[1]):
        fresh = start[:, t, None, None]
        keys, values = keys.masked_fill(fresh[..., None], 0.0), values.masked_fill(fresh[..., None], 0.0)
        score, age = score.masked_fill(fresh, 0), age.masked_fill(fresh, -1)
        young = (age >= 0) & (age < recent)  # after this step they are of age 1 .. R: R + 1 with the present
        rank = score.masked_fill(age < 0, -1).masked_fill(young, torch.iinfo(torch.int64).max)
        new = slots == rank.argmin(1, keepdim=True)  # [B, W, H]
        age = torch.where(age < 0, age, (age + 1).clamp(max=recent)).masked_fill(new, 0)
        keys = torch.where(new[..., None], k[:, t, None], keys)
        values = torch.where(new[..., None], v[:, t, None], values)
        scores = torch.einsum("bhk,bwhk->bwh", q[:, t], keys) + bias[head, age.clamp(min=0)]
        weight = scores.masked_fill(age < 0, -torch.inf).softmax(1)
        ys.append(torch.einsum("bwh,bwhv->bhv", weight, values))
        score = score.masked_fill(new, 0) + (weight.detach() * UNIT).round().long()
    return torch.stack(ys, 1), keys, values, score, age


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    keys: Tensor,
    values: Tensor,
    score: Tensor,
    age: Tensor,
    start: Tensor,
) -> None:
    """Validate shapes and dtypes; the arguments are those of `heavy_hitter`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    (B, T, H, K), V, W, R = q.shape, v.shape[-1], keys.shape[1], bias.shape[-1] - 1
    if not 1 <= R < W:
        raise ValueError(f"bias must be of 2 to {W} ages, the slots, got {R + 1}")
    wanted = {
        "k": (k, [B, T, H, K]),
        "v": (v, [B, T, H, V]),
        "bias": (bias, [H, R + 1]),
        "keys": (keys, [B, W, H, K]),
        "values": (values, [B, W, H, V]),
        "score": (score, [B, W, H]),
        "age": (age, [B, W, H]),
        "start": (start, [B, T]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    tensors = {name: tensor for name, (tensor, _) in wanted.items()}
    examine({"q": q, **tensors}, states=("keys", "values"))
