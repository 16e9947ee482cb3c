"""The self-modifying matrix, a mini-batch at a time.

The writes of a mini-batch are known at its beginning: its steps are the delta rule of `fast_weight`.
"""

import torch
from torch import Tensor

from lifelong.kernels.backends import Backend
from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.inner_loop.schedule import schedule

from .reference import product, writes

__all__ = ["self_modifying"]


def self_modifying(
    q: Tensor,
    x: Tensor,
    z: Tensor,
    matrix: Tensor,
    frozen: Tensor,
    fast: Tensor,
    rate_bias: Tensor,
    fade_bias: Tensor,
    phase: Tensor,
    start: Tensor,
    batch: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.self_modifying`, a mini-batch at a time; arguments as there."""
    K = q.shape[-1]
    plan = schedule(phase, start, batch)
    Q, X, Z = (plan.lay_out(each) for each in (q, x, z))  # [B, N, C, H, K]
    there, full = plan.there, plan.full[..., None, None, None]
    never = torch.zeros_like(there[:, 0])
    form: Backend = "reference" if plan.slots == 1 else "chunk"  # few steps at a time

    def mini_batch(n: int, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        frozen, fast = state
        on = there[:, n, :, None]  # [B, C, 1]
        k, v, rate, decay, write = writes(X[:, n], Z[:, n], matrix, frozen, rate_bias, fade_bias)
        eta = (on * rate / batch)[..., None]
        y, fast = fast_weight(Q[:, n], k, eta * write, fast, never, decay=on * decay, erase=eta * k, backend=form)
        y = (product(matrix, Q[:, n]) + y)[..., -K:]
        return torch.cat([y, v], -1).transpose(1, 2), [torch.where(full[:, n], fast, frozen), fast]

    both, (frozen, fast) = plan.run(mini_batch, [frozen, fast])
    y, v = both.split(K, -1)
    return y, v, frozen, fast, plan.phase
