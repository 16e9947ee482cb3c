r"""Record what matrix recurrences write, and split the last reading into what each write contributes.

    S_t = S_{t-1} D_t (I - r_t c_t^T) + v_t k_t^T          D_t = diag(exp(decay_t)); S_t = v_t k_t^T at a start
    S_T u_T = S_0 u_0 + sum_t (k_t^T u_t) v_t              u_{t-1} = D_t (u_t - (c_t^T u_t) r_t), zero before a start

With u_T = q the sum is the reading y_T = S_T q_T: an identity for any keys, values and gates, whatever they depend on.
In the posterior each row of the matrix is read at a vector of its own, q / (J + I_p), so that u has a row for each.

Shapes: B lives, T steps, H heads, K key dim, V value dim, R rows of u: 1, or V in the posterior.
Cost: 4 H R K operations a step, once through all steps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Writes", "contributions", "record", "recorded", "recording"]


class Writes(NamedTuple):
    """Writes of T steps to a matrix, and the reading after the last of them."""

    k: Tensor
    """[B, T, H, K] keys written at."""
    v: Tensor
    """[B, T, H, V] values written, times their rate."""
    state: Tensor
    """[B, H, V, K] the matrix before the first step."""
    start: Tensor
    """[B, T] bool, true where a step is the first of a life."""
    u: Tensor
    """[B, H, R, K] what the matrix after the last step is read at."""
    reading: Tensor
    """[B, H, V] what is read."""
    decay: Tensor | None = None
    """[B, T, H] or [B, T, H, K], log of the factor kept; None keeps everything."""
    erase: Tensor | None = None
    """[B, T, H, K], r; None erases nothing."""
    erase_key: Tensor | None = None
    """[B, T, H, K], c."""


_calls: list[Writes] | None = None  # of the recurrences inside `recorded`; None outside


@contextmanager
def recorded() -> Iterator[list[Writes]]:
    """Record the calls of `fast_weight` and `posterior` inside the block, in their order; not thread-safe."""
    global _calls
    before, _calls = _calls, []
    try:
        yield _calls
    finally:
        _calls = before


def recording() -> bool:
    """Return whether calls are recorded."""
    return _calls is not None


def record(
    u: Tensor,
    reading: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    decay: Tensor | None = None,
    erase: Tensor | None = None,
    erase_key: Tensor | None = None,
    rate: Tensor | None = None,
) -> None:
    """Record a call, inside `recorded`; arguments as in `fast_weight`, u and reading as in `Writes`."""
    if _calls is None:
        return
    if rate is not None:
        v, erase = rate[..., None] * v, rate[..., None] * k
    if erase_key is None:
        erase_key = k if erase is not None else None
    _calls.append(Writes(k, v, state, start, u, reading, decay, erase, erase_key))


def contributions(writes: Writes) -> tuple[Tensor, Tensor]:
    """Return what each write contributes to the last reading, and what the matrix before the first step does.

    Returns:
        each: [B, T, H, V], (k_t^T u_t) v_t.
        initial: [B, H, V], S_0 u_0.
    """
    u, each = writes.u, []
    for t in reversed(range(writes.k.shape[1])):
        each.append((u @ writes.k[:, t, ..., None])[..., 0] * writes.v[:, t])
        if writes.erase is not None and writes.erase_key is not None:
            u = u - (u @ writes.erase_key[:, t, ..., None]) * writes.erase[:, t, :, None, :]
        if writes.decay is not None:
            kept = writes.decay[:, t].exp()  # [B, H] or [B, H, K]
            u = u * (kept[..., None, None] if writes.decay.ndim == 3 else kept[..., None, :])
        u = u.masked_fill(writes.start[:, t, None, None, None], 0.0)
    return torch.stack(each[::-1], 1), (writes.state * u).sum(-1)
