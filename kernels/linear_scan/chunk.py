r"""The elementwise linear recurrence, all chunks of C steps at a time.

    own[t] = a[t] own[t-1] + u[t]                from nothing at the start of each chunk: C steps for all chunks at once
    before[n+1] = e[n, C] before[n] + own[n, C]  the state before each chunk: T / C steps
    y[t] = own[t] + e[t] before[n]               all at once

a[t] = exp(decay) is the factor of a step, e[t] the decay of the chunk's incoming state, 0 once a life has started. All
of them are products of factors; no exponent is a difference.
"""

import torch
from torch import Tensor

from lifelong.kernels.segments import masked_exp, pad_time

__all__ = ["linear_scan"]


def linear_scan(
    u: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    write: Tensor | None = None,
    read: Tensor | None = None,
    chunk: int = 16,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.linear_scan`, `chunk` steps at a time; arguments as there."""
    B, T = start.shape
    inner = (1,) * (state.ndim - 1)  # the state's axes
    if write is not None:
        u = u[..., None] * write.view(B, T, *inner[1:], -1)
    decay = decay.expand(B, T, *decay.shape[2:])[(...,) + (None,) * (u.ndim - decay.ndim)]
    chunk = min(chunk, T)
    U, log_a, new = pad_time(u, chunk), pad_time(decay, chunk), pad_time(start, chunk)  # [B, N, C, ...]
    a = log_a.exp()
    alive = (new.cumsum(2) == 0).view(*new.shape, *inner)  # the incoming state still counts
    left = masked_exp(log_a.cumsum(2), alive)
    new = new.view(*new.shape, *inner)

    own = [U[:, :, 0]]
    for t in range(1, chunk):
        own.append(a[:, :, t] * own[-1].masked_fill(new[:, :, t], 0.0) + U[:, :, t])
    before = [state]
    for n in range(U.shape[1]):
        arrived = before[-1].masked_fill(~alive[:, n, -1], 0.0)
        before.append(left[:, n, -1] * arrived + own[-1][:, n])
    arrived = torch.stack(before[:-1], 1)[:, :, None]  # [B, N, 1, ...]
    y = torch.stack(own, 2) + left * torch.where(alive, arrived, 0.0)
    y = y.flatten(1, 2)[:, :T]
    if read is not None:
        y = (y * read.view(B, T, *inner[1:], -1)).sum(-1)
    return y, before[-1]
