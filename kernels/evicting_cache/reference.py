r"""A cache in front of linear attention: it keeps the pairs that the sums recall worst, and writes the rest to them.

    step t reads the L pairs of the cache and the sums:
        c_s = g q_t^T k_s,    c_L = m + log z^T phi(q_t),    v_L = S phi(q_t) / (z^T phi(q_t))
        y_t = sum_s e^{c_s} v_s / e^{w_t},    w_t = log sum_s e^{c_s}
    then one pair enters, and competes with those of the cache:
        error(k, v) = | S phi(k) / (z^T phi(k)) - v |^2          0 / 0 = 0: an empty memory recalls 0
    the one of the least error is added to the sums, S <- S + v phi(k)^T, z <- z + phi(k); a free slot is taken first

A pair is one vector: key, value, a one for the normaliser, and the key's features. z is the last row of S. Gradients
flow through pairs kept, read and summed, not through the choice.

Shapes: B lives, T steps, H heads, K key dim, V value dim, L slots, F features, R = K + V + 1 + F.
Source: arXiv:2505.23666.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["check", "evicting_cache"]

UNSEEN = -1e30
"""Score of empty slots: finite, so that an empty cache gives no NaN."""


def evicting_cache(
    q: Tensor,
    phi: Tensor,
    pairs: Tensor,
    came: Tensor,
    kept: Tensor,
    S: Tensor,
    start: Tensor,
    sharpness: Tensor,
    linear_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Read and write the cache and the sums at every step.

    Args:
        q: [B, T, H, K] queries.
        phi: [B, T, H, F] their features.
        pairs: [B, T, H, R] the pair that enters after the reading of each step, zero where there is none.
        came: [B, T] int64, pairs that entered before each step; negative where none enters after it either.
        kept: [B, L, H, R] the cache before the first step, its used slots first.
        S: [B, H, V + 1, F] the sums before the first step.
        start: [B, T] bool, true where a step is the first of a life.
        sharpness: [H] g.
        linear_bias: [H] m.

    Returns:
        w: [B, T, H] log of the total weight of cache and sums.
        y: [B, T, H, V] their weighted mean.
        kept: [B, L, H, R] the cache after the last step.
        S: [B, H, V + 1, F] the sums after the last step.
    """
    L = kept.shape[1]
    unused = torch.arange(L, device=q.device) >= came[..., None]  # [B, T, L]
    totals, values = [], []
    for t in range(q.shape[1]):
        new = start[:, t, None, None, None]
        kept, S = kept.masked_fill(new, 0.0), S.masked_fill(new, 0.0)
        exact = sharpness * torch.einsum("bhk,blhk->blh", q[:, t], kept[..., : q.shape[-1]])
        empty = came[:, t, None] <= L
        total, value = _recall(exact, phi[:, t], kept, S, linear_bias, unused[:, t], empty)
        kept, S = _evict(pairs[:, t, None], kept, S, unused[:, t], came[:, t, None] >= L)
        totals.append(total)
        values.append(value)
    return torch.stack(totals, 1), torch.stack(values, 1), kept, S


def _value(pairs: Tensor, S: Tensor) -> slice:
    """Return the channels of a pair's value."""
    rows, features = S.shape[-2:]
    end = pairs.shape[-1] - features - 1
    return slice(end - rows + 1, end)


def _recall(
    exact: Tensor, phi: Tensor, kept: Tensor, S: Tensor, linear_bias: Tensor, unused: Tensor, empty: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the log weight [B, H] and the mean [B, H, V] of the cache, of scores [B, L, H], and of the sums."""
    recalled, mass = _divided(S, phi)
    linear = (linear_bias + torch.where(empty, 1.0, mass).log()).masked_fill(empty, UNSEEN)  # [B, H]
    scores = torch.cat([exact.masked_fill(unused[..., None], UNSEEN), linear[:, None]], 1)  # [B, L + 1, H]
    total = scores.logsumexp(1)
    weight = (scores - total[:, None]).exp()
    values = kept[..., _value(kept, S)]
    return total, torch.einsum("blh,blhv->bhv", weight[:, :-1], values) + weight[:, -1, :, None] * recalled


def _evict(pair: Tensor, kept: Tensor, S: Tensor, unused: Tensor, full: Tensor) -> tuple[Tensor, Tensor]:
    """Evict the pair of the least error among the cache and the new pair [B, 1, H, R]."""
    rivals = torch.cat([kept, pair], 1)  # [B, L + 1, H, R]
    value, features = _value(kept, S), slice(-S.shape[-1], None)
    with torch.no_grad():
        recalled, _ = _divided(S[:, None], rivals[..., features])
        error = (recalled - rivals[..., value]).square().sum(-1)  # [B, L + 1, H]
        error[:, :-1].masked_fill_(unused[..., None], -1.0)  # the first slot without a pair is taken
        loser = error.argmin(1, keepdim=True)  # [B, 1, H]
    lost = rivals.gather(1, loser[..., None].expand(-1, -1, -1, rivals.shape[-1]))[:, 0]
    write = torch.where(full[..., None], lost[..., value.start : value.stop + 1], 0.0)  # with the one
    S = S + write[..., None] * lost[..., None, features]
    slots = torch.arange(kept.shape[1], device=S.device)[:, None]
    return torch.where((slots == loser)[..., None], pair, kept), S


def _divided(S: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the linear attention's output, [..., V], and its normaliser [...]; 0 for an empty memory."""
    read = torch.einsum("...vf,...f->...v", S, features)
    mass = read[..., -1:]
    return read[..., :-1] / torch.where(mass > 0, mass, 1.0), mass[..., 0]


def check(
    q: Tensor,
    phi: Tensor,
    pairs: Tensor,
    came: Tensor,
    kept: Tensor,
    S: Tensor,
    start: Tensor,
    sharpness: Tensor,
    linear_bias: Tensor,
) -> None:
    """Validate shapes and dtypes; the arguments are those of `evicting_cache`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    (B, T, H, K), (rows, F), L = q.shape, S.shape[-2:], kept.shape[1]
    R = K + rows + F
    wanted = {
        "phi": (phi, [B, T, H, F]),
        "pairs": (pairs, [B, T, H, R]),
        "came": (came, [B, T]),
        "kept": (kept, [B, L, H, R]),
        "S": (S, [B, H, rows, F]),
        "start": (start, [B, T]),
        "sharpness": (sharpness, [H]),
        "linear_bias": (linear_bias, [H]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine({"q": q, **{name: tensor for name, (tensor, _) in wanted.items()}}, states=("kept", "S"))
