r"""Cells with exponential gates as a compiled loop; arguments as in `reference.py`.

Gradients, last step first; g. is the gradient of what follows the dot, of states that of what came from later steps:

    g.o = g.h (c / n) sigmoid'(o),   g.c += g.h sigmoid(o) / n,   g.n -= g.h sigmoid(o) c / n^2
    g.keep = g.c c' + g.n n',   g.write = g.c tanh(z) + g.n,   g.z = g.c write (1 - tanh(z)^2)
    g.m -= g.keep keep + g.write write                  of m_t, which is log sigmoid(f) + m' or i, whichever is greater
    g.i = g.write write + (g.m or 0),   g.m' = g.keep keep + (0 or g.m),   g.f = g.m' sigmoid(-f)
    g.c' = keep g.c,   g.n' = keep g.n,   g.h' = R^T g.(i, f, z, o),   g.R += g.(i, f, z, o) h'^T

A prime marks the state before the step. The forward pass keeps all states and gates.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["slstm"]

NEVER = -1e30  # as in `reference.py`


def slstm(
    given: Tensor, recurrent: Tensor, c: Tensor, n: Tensor, m: Tensor, h: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.slstm` in one compiled loop; float32 or float64, differentiable once."""
    inputs = (given, recurrent, c, n, m, h, start)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        made: tuple[Tensor, Tensor, Tensor, Tensor] = _SLSTM.apply(*inputs)  # type: ignore[no-untyped-call]
        return made
    return _run(*inputs)[0]


class _SLSTM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        outputs, kept = _run(*inputs)
        ctx.save_for_backward(*kept)
        return outputs

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dhs: Tensor, *dafter: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        recurrent, *others, start = kept = ctx.saved_tensors
        (B, T), gates = start.shape, others[4]
        states = [z.clone(memory_format=torch.contiguous_format) for z in (*dafter, torch.zeros_like(dafter[0]))]
        dgiven, drecurrent = torch.empty_like(gates), recurrent.new_zeros(B, *recurrent.shape)  # each life sums its own
        arrays = rows(gates.dtype, *kept, dhs.contiguous(), *states, dgiven, drecurrent)
        spread(_backward, B, 2 * T * recurrent.numel(), arrays)
        return dgiven, drecurrent.sum(0), *states, None


def _run(*inputs: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """Run forward; return the outputs and what the backward pass needs."""
    given, recurrent, c, n, m, h, start = (z.detach().contiguous() for z in inputs)
    (B, T, _), D = given.shape, c.shape[1]
    states = [z.new_empty(B, T + 1, D) for z in (c, n, m, h)]
    for all_steps, first in zip(states, (c, n, m, h), strict=True):
        all_steps[:, 0] = first
    gates = torch.empty_like(given)
    arrays = rows(given.dtype, given, recurrent, *states, gates, start)
    spread(_forward, B, T * recurrent.numel(), arrays)
    c, n, m = (z[:, -1].clone() for z in states[:3])
    return (states[3][:, 1:].contiguous(), c, n, m), (recurrent, *states, gates, start)


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`: row b (T + 1) + t of a state is that before step t."""
    given, recurrent, c, n, m, h, gates, start = arrays
    T, D, N, one = start.shape[1], c.shape[1], recurrent.shape[1], c.dtype.type(1)
    was, own = np.empty((4, D), c.dtype), np.empty(N, c.dtype)  # states before the step; h of a head
    for b in range(first, last):
        for t in range(T):
            before, row = b * (T + 1) + t, b * T + t
            _before(was, c, n, m, h, before, start[b, t])
            for head in range(D // N):
                for j in range(N):
                    own[j] = was[3, head * N + j]
                for part in range(4):
                    for d in range(N):
                        at, total = (head * 4 + part) * N + d, given[row, part * D + head * N + d]
                        for j in range(N):
                            total += recurrent[at, j] * own[j]
                        gates[row, part * D + head * N + d] = total
            for d in range(D):
                i, f = gates[row, d], gates[row, D + d]
                kept = min(f, one - one) - np.log1p(np.exp(-abs(f))) + was[2, d]
                most = max(kept, i)
                keep, write = np.exp(kept - most), np.exp(i - most)
                m[before + 1, d] = most
                c[before + 1, d] = keep * was[0, d] + write * np.tanh(gates[row, 2 * D + d])
                n[before + 1, d] = keep * was[1, d] + write
                h[before + 1, d] = c[before + 1, d] / n[before + 1, d] / (one + np.exp(-gates[row, 3 * D + d]))


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; gradients of the last states come in those of the first."""
    recurrent, c, n, m, h, gates, start, dhs, gc, gn, gm, gh, dgiven, drecurrent = arrays
    T, D, N, one = start.shape[1], c.shape[1], recurrent.shape[1], c.dtype.type(1)
    was, own, back = np.empty((4, D), c.dtype), np.empty(N, c.dtype), np.empty(N, c.dtype)
    for b in range(first, last):
        for t in range(T - 1, -1, -1):
            before, row = b * (T + 1) + t, b * T + t
            _before(was, c, n, m, h, before, start[b, t])
            for d in range(D):
                i, f, z, o = gates[row, d], gates[row, D + d], gates[row, 2 * D + d], gates[row, 3 * D + d]
                kept = min(f, one - one) - np.log1p(np.exp(-abs(f))) + was[2, d]
                most = m[before + 1, d]
                keep, write, z, o = np.exp(kept - most), np.exp(i - most), np.tanh(z), one / (one + np.exp(-o))
                mean, by = c[before + 1, d] / n[before + 1, d], (gh[b, d] + dhs[row, d]) * o
                dgiven[row, 3 * D + d] = by * mean * (one - o)
                gc[b, d] += by / n[before + 1, d]
                gn[b, d] -= by * mean / n[before + 1, d]
                gkeep = (gc[b, d] * was[0, d] + gn[b, d] * was[1, d]) * keep
                gwrite = (gc[b, d] * z + gn[b, d]) * write
                gmost = gm[b, d] - gkeep - gwrite
                dgiven[row, 2 * D + d] = gc[b, d] * write * (one - z * z)
                dgiven[row, d] = gwrite + (gmost if i > kept else one - one)
                gm[b, d] = gkeep + (one - one if i > kept else gmost)
                dgiven[row, D + d] = gm[b, d] / (one + np.exp(f))
                gc[b, d] *= keep
                gn[b, d] *= keep
            for head in range(D // N):
                for j in range(N):
                    own[j], back[j] = was[3, head * N + j], 0
                for part in range(4):
                    for d in range(N):
                        at, by = (head * 4 + part) * N + d, dgiven[row, part * D + head * N + d]
                        to = b * recurrent.shape[0] + at
                        for j in range(N):
                            back[j] += by * recurrent[at, j]
                            drecurrent[to, j] += by * own[j]
                for j in range(N):
                    gh[b, head * N + j] = back[j]
            if start[b, t]:
                for d in range(D):
                    gc[b, d] = gn[b, d] = gm[b, d] = gh[b, d] = 0


@jit
def _before(was: Array, c: Array, n: Array, m: Array, h: Array, row: int, fresh: bool) -> None:
    """Write the states before a step, those of a new life where one starts."""
    for d in range(was.shape[1]):
        was[0, d], was[1, d], was[2, d], was[3, d] = c[row, d], n[row, d], m[row, d], h[row, d]
    if fresh:
        for d in range(was.shape[1]):
            was[0, d] = was[1, d] = was[3, d] = 0
            was[2, d] = NEVER
