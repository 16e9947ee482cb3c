r"""A matrix per head that computes its own updates, one step at a time.

    F <- 0 where a life starts                                      the offset from the slow weights A
    y_t, q, k, b = (A + F) x_t                                      N, N, N and 4 rows
    q, k <- softmax(q), softmax(k),   beta = sigmoid(b)             one for each of the four blocks of rows
    F <- F + beta * ((A + F) (q - k)) k^T
    a row of F longer than `limit` is brought to that length

Shapes: B lives, T steps, H heads, N channels of a head, R = 3 N + 4 rows.
Traffic per step and head: 2 R N numbers of state, and 2 N of inputs and outputs.
Source: arXiv:2202.05780; the limit is ours.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["check", "self_referential"]


def self_referential(x: Tensor, weight: Tensor, state: Tensor, start: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Read and rewrite the matrix at every step.

    Args:
        x: [B, T, H, N] inputs.
        weight: [H, 3 N + 4, N] A.
        state: [B, H, 3 N + 4, N] F before the first step.
        start: [B, T] bool, true where a step is the first of a life.
        limit: greatest length of a row of F.

    Returns:
        y: [B, T, H, N] readings.
        state: F after the last step.
    """
    N, ys = x.shape[-1], []
    sizes = [N, N, N, 4]
    for t in range(x.shape[1]):
        state = state.masked_fill(start[:, t, None, None, None], 0.0)
        W = weight + state  # [B, H, R, N]
        y, q, k, b = (W @ x[:, t, ..., None])[..., 0].split(sizes, -1)
        q, k = q.softmax(-1), k.softmax(-1)
        rates = zip(b.sigmoid().split(1, -1), sizes, strict=True)
        beta = torch.cat([rate.expand(-1, -1, rows) for rate, rows in rates], -1)  # [B, H, R]
        change = beta * (W @ (q - k)[..., None])[..., 0]
        state = state + change[..., None] * k[..., None, :]
        length = (state.square().sum(-1, keepdim=True) + 1e-30).sqrt()
        state = state * (limit / length).clamp(max=1.0)
        ys.append(y)
    return torch.stack(ys, 1), state


def check(x: Tensor, weight: Tensor, state: Tensor, start: Tensor) -> None:
    """Validate shapes and dtypes; the arguments are those of `self_referential`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if x.ndim != 4:
        raise ValueError(f"x must be [B, T, H, N], got {list(x.shape)}")
    B, T, H, N = x.shape
    wanted = {
        "weight": (weight, [H, 3 * N + 4, N]),
        "state": (state, [B, H, 3 * N + 4, N]),
        "start": (start, [B, T]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine({"x": x, **{name: tensor for name, (tensor, _) in wanted.items()}})
