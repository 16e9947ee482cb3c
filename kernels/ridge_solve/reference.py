r"""Ridge regression over all earlier steps, solved for the query of every step, one step at a time.

    H <- 0 where a life starts
    H <- exp(decay_t) H + w_t k_t^T
    r_t = (H + diag(lambda))^-1 q_t            `iterations` of conjugate gradients from 0

The gradient is that of the exact solution, one more solve with the same matrix: see `conjugate_gradients.py`.

Shapes: B lives, T steps, H heads, K key dim.
Traffic per step and head: K^2 numbers of state, read once in every iteration, and 4 K of inputs and outputs.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine
from lifelong.kernels.conjugate_gradients import solve

__all__ = ["check", "ridge_solve"]


def ridge_solve(
    q: Tensor,
    k: Tensor,
    write: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    ridge: Tensor,
    least: float,
    iterations: int,
) -> Tensor:
    """Solve for every query.

    Args:
        q: [B, T, H, K] right-hand sides.
        k: [B, T, H, K] keys.
        write: [B, T, H, K] w, keys times their strength.
        decay: [B, T, H] log of the factor kept, <= 0.
        state: [B, H, K, K] before the first step; left as it is.
        start: [B, T] bool, true where a step is the first of a life.
        ridge: [H, K] lambda.
        least: a lower bound of lambda.
        iterations: of conjugate gradients.

    Returns:
        r: [B, T, H, K].
    """
    rs = []
    for t in range(q.shape[1]):
        state = state.masked_fill(start[:, t, None, None, None], 0.0)
        state = decay[:, t, :, None, None].exp() * state + write[:, t, ..., None] * k[:, t, :, None]
        A = state + torch.diag_embed(ridge)
        rs.append(solve(lambda p, A=A: (A @ p[..., None])[..., 0], q[:, t], least, iterations))  # type: ignore[misc]
    return torch.stack(rs, 1)


def check(q: Tensor, k: Tensor, write: Tensor, decay: Tensor, state: Tensor, start: Tensor, ridge: Tensor) -> None:
    """Validate shapes and dtypes; the arguments are those of `ridge_solve`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    B, T, H, K = q.shape
    wanted = {
        "k": (k, [B, T, H, K]),
        "write": (write, [B, T, H, K]),
        "decay": (decay, [B, T, H]),
        "state": (state, [B, H, K, K]),
        "start": (start, [B, T]),
        "ridge": (ridge, [H, K]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine({"q": q, **{name: tensor for name, (tensor, _) in wanted.items()}})
