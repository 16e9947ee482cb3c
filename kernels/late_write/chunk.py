"""The network that is updated once per period, a mini-batch at a time: within one its weights are constant."""

import torch
from torch import Tensor

from lifelong.kernels.inner_loop.network import Layers, split
from lifelong.kernels.inner_loop.schedule import schedule
from lifelong.kernels.segments import nowhere

from .reference import Network, read, weight_change, written

__all__ = ["late_write"]


def late_write(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    weights: Tensor,
    fast: Tensor,
    gathered: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    period: int,
    *,
    batch: int | None = None,
    network: Network = "mlp",
    keep: Tensor | None = None,
    stride: Tensor | None = None,
    bound: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Compute `reference.late_write`, a mini-batch at a time; arguments as there."""
    plan = schedule(phase, start, batch or period)
    Q, X, V, rates = (plan.lay_out_heads(z) for z in (q, k, v, rate))  # [B, N, H, C, ...]
    over = plan.completes(period)[..., None, None]

    def mini_batch(n: int, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        fast, gathered, *moving = state
        now, done = split(weights + fast, layers), over[:, n]
        y = read(now, Q[:, n], network)
        gathered = gathered + weight_change(now, X[:, n], V[:, n], rates[:, n], network, bound)
        if nowhere(done):
            return y, [fast, gathered, *moving]
        if keep is None or stride is None:
            fast = torch.where(done, fast + gathered, fast)
        elif done.any():  # Newton-Schulz costs more than the synchronisation
            lives = done[:, 0, 0].nonzero()[:, 0]
            push = gathered[lives] + keep[:, None] * moving[0][lives]
            fast = fast.index_copy(0, lives, written(weights, fast[lives], push, stride, layers))
            moving = [moving[0].index_copy(0, lives, push)]
        return y, [fast, gathered.masked_fill(done, 0.0), *moving]

    y, after = plan.run(mini_batch, [fast, gathered] if momentum is None else [fast, gathered, momentum])
    return y, after[0], after[1], None if momentum is None else after[2], plan.age[:, -1:] % period
