r"""The short convolution, all steps at once: one shifted, masked product per step of the window."""

import torch
from torch import Tensor

__all__ = ["short_conv"]


def short_conv(x: Tensor, weight: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `reference.short_conv` in one pass; arguments as there."""
    T, W = x.shape[1], weight.shape[1]
    padded = torch.cat([state, x], 1)  # [B, W - 1 + T, D]
    life = start.cumsum(1)  # [B, T] 0 while the incoming window still counts
    lives = torch.cat([life.new_zeros(life.shape[0], W - 1), life], 1)
    y = x * weight[:, -1]
    for age in range(1, W):
        past = slice(W - 1 - age, W - 1 - age + T)
        same = (lives[:, past] == life)[..., None]  # [B, T, 1] was that input of this life?
        y = y + torch.where(same, padded[:, past], 0.0) * weight[:, -1 - age]
    kept = lives[:, T:] == lives[:, -1:]
    return y, torch.where(kept[..., None], padded[:, T:], 0.0)
