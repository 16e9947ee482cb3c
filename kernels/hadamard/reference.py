r"""The matrix with a factor for every entry, one step at a time.

    S <- 0 where a life starts
    S <- clamp(S * (1 + tanh(r_t c_t^T)) + v_t k_t^T)           elementwise product; within +-10^12
    y_t = S q_t

Shapes: B lives, T steps, V rows, K columns.
Traffic per step: 2 V K numbers of state, 2 V + 3 K of inputs and outputs.
Source: arXiv:2410.10132; the bound is ours: what is multiplied by a factor above 1 for ever is held.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["LARGEST", "check", "hadamard"]

LARGEST = 1e12
"""Bound of the matrix's entries."""


def hadamard(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, S: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Weaken or strengthen, write and read at every step.

    Args:
        q: [B, T, K] what is read.
        k: [B, T, K] where it is written.
        v: [B, T, V] what is written.
        rows: [B, T, V] r, of the factors.
        columns: [B, T, K] c, of the factors.
        S: [B, V, K] before the first step.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        y: [B, T, V] readings.
        S: after the last step.
    """
    ys = []
    for t in range(q.shape[1]):
        S = S.masked_fill(start[:, t, None, None], 0.0)
        factor = 1 + (rows[:, t, :, None] * columns[:, t, None, :]).tanh()
        S = (S * factor + v[:, t, :, None] * k[:, t, None, :]).clamp(-LARGEST, LARGEST)
        ys.append((S @ q[:, t, :, None])[..., 0])
    return torch.stack(ys, 1), S


def check(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, S: Tensor, start: Tensor) -> None:
    """Validate shapes and dtypes; the arguments are those of `hadamard`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if q.ndim != 3:
        raise ValueError(f"q must be [B, T, K], got {list(q.shape)}")
    (B, T, K), V = q.shape, v.shape[-1]
    wanted = {
        "k": (k, [B, T, K]),
        "v": (v, [B, T, V]),
        "rows": (rows, [B, T, V]),
        "columns": (columns, [B, T, K]),
        "S": (S, [B, V, K]),
        "start": (start, [B, T]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine({"q": q, **{name: tensor for name, (tensor, _) in wanted.items()}}, states=("S",))
