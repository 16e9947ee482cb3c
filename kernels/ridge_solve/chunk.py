"""Ridge regression for all steps at once: with p_t for q_t, H_t p_t is what linear attention reads, one call of it."""

from collections.abc import Callable

import torch
from torch import Tensor

from lifelong.kernels.conjugate_gradients import solve
from lifelong.kernels.fast_weight import fast_weight

__all__ = ["ridge_solve", "solve_all"]


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
    """Compute `reference.ridge_solve`, an iteration of all steps in one call; arguments as there."""
    return solve_all(q, k, write, decay, state, start, ridge, least, iterations, None)


def solve_all(
    q: Tensor,
    k: Tensor,
    write: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    ridge: Tensor,
    least: float,
    iterations: int,
    compiled: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """Compute `ridge_solve`; `compiled` solves for right-hand sides without gradients, None for plain iterations."""
    if q.shape[1] > 1:

        def seen(p: Tensor) -> Tensor:
            return fast_weight(p, k, write, state, start, decay=decay)[0]
    else:  # H is constant over the iterations
        H = torch.where(start[..., None, None], 0.0, state) * decay[:, 0, :, None, None].exp()
        H = H + write[:, 0, ..., None] * k[:, 0, :, None]

        def seen(p: Tensor) -> Tensor:
            return (H @ p[:, 0, :, :, None])[:, None, ..., 0]

    return solve(lambda p: seen(p) + ridge * p, q, least, iterations, compiled)
