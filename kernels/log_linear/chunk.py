"""The levels of a fast-weight matrix, a chunk of steps at a time.

Decay and correction are the same in all levels, so a chunk of C steps runs `fast_weight` once, on more rows: those of
all levels, and one row for each step of the chunk, which is the key side of its write. The levels from before the chunk
move as wholes; a write of step s is, at step t, in the level of the highest bit in which t and s differ.
"""

import torch
from torch import Tensor

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.segments import life_start_steps

from .reference import Rule

__all__ = ["log_linear"]

CHUNK = 64


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
    """Compute `reference.log_linear`, a chunk at a time; arguments as there."""
    now = torch.arange(q.shape[1], device=q.device) - life_start_steps(count, start)  # [B, T] earlier steps of the life
    ys = []
    for given in zip(*(z.split(CHUNK, 1) for z in (q, k, v, rate, decay, scale, now, start)), strict=True):
        y, state = _chunk(state, rule, *given)
        ys.append(y)
    return torch.cat(ys, 1), state, now[:, -1:] + 1


def _chunk(
    S: Tensor,
    rule: Rule,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    decay: Tensor,
    scale: Tensor,
    now: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the outputs of the C steps of a chunk, and the levels after them."""
    (B, C), (_, num_heads, levels, V, K) = now.shape, S.shape
    if rule == "additive":
        v = rate[..., None] * v
    ones = torch.eye(C, dtype=S.dtype, device=S.device)[:, None].expand(B, C, num_heads, C)
    values = torch.cat([ones.new_zeros(B, C, num_heads, levels * V), ones], -1)
    rows = torch.cat([S.flatten(2, 3), S.new_zeros(B, num_heads, C, K)], 2)
    read, rows = fast_weight(q, k, values, rows, start, decay=decay, rate=rate if rule == "delta" else None)
    old, weight = read.split([levels * V, C], -1)  # weight [B, C, H, C] of v_s in the reading at t

    level = _highest_bit(now[:, :, None] ^ now[:, None]).clamp(max=levels - 1)  # [B, C, C] where s is at t
    moved = _moved_levels(levels, (now[:, :1] - 1).clamp(min=0), now)  # [B, C, L] where a whole level is at t
    per_step, per_level = (scale.gather(-1, z[:, :, None].expand(-1, -1, num_heads, -1)) for z in (level, moved))
    y = torch.einsum("bchs,bshv->bchv", per_step * weight, v)
    y = y + torch.einsum("bchl,bchlv->bchv", per_level, old.unflatten(-1, (levels, V)))

    kept, keys = rows.split([levels * V, C], 2)
    kept = kept.unflatten(2, (levels, V))
    place = moved[:, -1, None, :, None, None].expand_as(kept)
    written = (level[:, -1, :, None] == torch.arange(levels, device=S.device)).to(S.dtype)  # [B, C, L]
    S = torch.einsum("bsl,bshv,bhsk->bhlvk", written, v, keys).scatter_add(2, place, kept)
    return y, S


def _highest_bit(n: Tensor) -> Tensor:
    """Return the bit length of n >= 0."""
    return torch.frexp(n.double()).exponent.long()


def _moved_levels(levels: int, before: Tensor, now: Tensor) -> Tensor:
    """Return the level at the steps `now` of each level's content at step `before`, in the same life.

    It moves first at the next multiple of 2^level, and then together with the step just before that one.

    Args:
        levels: L.
        before: [B, 1] the last step of which the content is.
        now: [B, C] later steps.

    Returns:
        [B, C, L] int64.
    """
    level = torch.arange(levels, device=now.device)
    block = before[..., None] >> level  # [B, 1, L]
    last = ((block + 1) << level) - 1
    moved = torch.where(now[..., None] >> level == block, level, _highest_bit((now[..., None] ^ last).abs()))
    return torch.where(level == levels - 1, level, moved.clamp(max=levels - 1))
