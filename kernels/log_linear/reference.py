r"""Fast-weight matrices on levels, each over twice the steps of the one below, one step at a time.

    S_0, ..., S_{L-1} <- 0,  t <- 0 where a life starts
    where t > 0, with j the lowest set bit of t, at most L - 1 for j + 1:
        S_{j+1} <- S_{j+1} + S_0 + ... + S_j,   S_0 = ... = S_j = 0
    S_i <- a_t S_i (1 - b_t k_t k_t^T)      for every level i;  with the rule `additive` a_t S_i
    S_0 <- S_0 + b_t v_t k_t^T
    y_t = sum_i lambda_t,i S_i q_t
    t <- t + 1

Level i > 0 holds 2^(i-1) successive steps or none; the last one takes in all that moves up, and never moves.

Shapes: B lives, T steps, H heads, K key dim, V value dim, L levels; a = exp(decay).
Traffic per step and head: 2 L V K numbers of state, and 2 K + 2 V + L of inputs and outputs.
Source: arXiv:2506.04761.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["Rule", "check", "log_linear"]

Rule = Literal["delta", "additive"]


def log_linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    decay: Tensor,
    scale: Tensor,
    state: Tensor,
    count: Tensor,
    start: Tensor,
    *,
    rule: Rule = "delta",
) -> tuple[Tensor, Tensor, Tensor]:
    """Move, decay, write and read the levels at every step.

    Args:
        q: [B, T, H, K] queries.
        k: [B, T, H, K] keys.
        v: [B, T, H, V] values.
        rate: [B, T, H] b, the share of the error that is corrected, or of the value that is added.
        decay: [B, T, H] log of the factor kept, <= 0.
        scale: [B, T, H, L] lambda, weight of each level in the output.
        state: [B, H, L, V, K] matrices before the first step.
        count: [B, 1] int64, t, earlier steps of the life.
        start: [B, T] bool, true where a step is the first of a life.
        rule: `delta` or `additive`.

    Returns:
        y: [B, T, H, V] outputs.
        state: [B, H, L, V, K] matrices after the last step.
        count: [B, 1] steps of the life.
    """
    top, level, ys = state.shape[2] - 1, torch.arange(state.shape[2], device=q.device), []
    for t in range(q.shape[1]):
        state = state.masked_fill(start[:, t, None, None, None, None], 0.0)
        count = count.masked_fill(start[:, t, None], 0)
        lowest = count & -count  # 2^j, or 0
        moves = (2**level <= lowest) & (level < top)  # [B, L]
        up = (torch.frexp(lowest.double()).exponent.long()).clamp(max=top)  # j + 1
        place = torch.where(moves, up, level)[:, None, :, None, None].expand_as(state)
        state = torch.zeros_like(state).scatter_add(2, place, state)

        key, b = k[:, t, :, None, None], rate[:, t, :, None, None]  # [B, H, 1, 1, K], [B, H, 1, 1]
        state = decay[:, t, :, None, None, None].exp() * state
        if rule == "delta":
            state = state - b[..., None] * (state @ key.mT) @ key
        first = state[:, :, 0] + b * v[:, t, ..., None] * key[:, :, 0]
        state = torch.cat([first[:, :, None], state[:, :, 1:]], 2)
        read = (state @ q[:, t, :, None, :, None])[..., 0]  # [B, H, L, V]
        ys.append((scale[:, t, ..., None] * read).sum(2))
        count = count + 1
    return torch.stack(ys, 1), state, count


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    decay: Tensor,
    scale: Tensor,
    state: Tensor,
    count: Tensor,
    start: Tensor,
    rule: Rule,
) -> None:
    """Validate shapes and dtypes.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    if state.ndim != 5:
        raise ValueError(f"state must be [B, H, L, V, K], got {list(state.shape)}")
    if rule not in get_args(Rule):
        raise ValueError(f"rule must be 'delta' or 'additive', got {rule!r}")
    (B, T, H, K), V, L = q.shape, v.shape[-1], state.shape[2]
    wanted = {
        "k": (k, [B, T, H, K]),
        "v": (v, [B, T, H, V]),
        "rate": (rate, [B, T, H]),
        "decay": (decay, [B, T, H]),
        "scale": (scale, [B, T, H, L]),
        "state": (state, [B, H, L, V, K]),
        "count": (count, [B, 1]),
        "start": (start, [B, T]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    if count.dtype != torch.int64:
        raise ValueError(f"count must be int64, got {count.dtype}")
    examine({"q": q, **{name: tensor for name, (tensor, _) in wanted.items()}})
