r"""The matrix with a factor for every entry as a compiled loop over lives; arguments as in `reference.py`.

Gradients, last step first; g. is the gradient of what follows the dot, f = 1 + tanh(u), u = r c^T:

    g.S' += g.y q^T,   g.q = S'^T g.y,   g.S' <- 0 where the bound held
    g.v = g.S' k,   g.k = g.S'^T v,   g.u = (g.S' * S) (1 - tanh(u)^2)
    g.r = g.u c,   g.c = g.u^T r,   g.S = g.S' * f

The forward pass keeps S every `CHECKPOINT` steps; the backward pass makes those between again.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Array, Arrays, jit, rows as rows_of, spread

__all__ = ["hadamard"]

CHECKPOINT = 16  # steps between the states kept for the backward pass
LARGEST = 1e12  # as in `reference.py`


def hadamard(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, S: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute `reference.hadamard` in one compiled loop; float32 or float64, differentiable once."""
    inputs = (q, k, v, rows, columns, S)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        made: tuple[Tensor, Tensor] = _Hadamard.apply(*inputs, start)  # type: ignore[no-untyped-call]
        return made
    return _run(*inputs, start, save=False)[:2]


class _Hadamard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        y, end, kept = _run(*inputs, save=True)
        ctx.save_for_backward(*kept)
        return y, end

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        *inputs, start, marks = ctx.saved_tensors
        dS, own = dend.clone(memory_format=torch.contiguous_format), [torch.zeros_like(x) for x in inputs]
        arrays = rows_of(dy.dtype, *inputs, start, marks, dy.contiguous(), dS, *own)
        spread(_backward, len(dS), 4 * start.shape[1] * dS[0].numel(), arrays)
        return *own, dS, None


def _run(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, S: Tensor, start: Tensor, *, save: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Run forward; return the readings, the last state and what the backward pass needs."""
    given = [x.detach().contiguous() for x in (q, k, v, rows, columns, start)]
    T, end, y = start.shape[1], own_state(S) if save else next_state(S), torch.empty_like(given[2])
    marks = end.new_empty((-(-T // CHECKPOINT) if save else 0, *end.shape))
    spread(_forward, len(end), T * end[0].numel(), rows_of(q.dtype, *given, marks, end, y))
    return y, end, (*given, marks)


# Row b V + i of S is row i of life b.


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; S comes as that before the first step."""
    q, k, v, r, c, start, marks, S, y = arrays
    (B, T), V, K = start.shape, v.shape[1], q.shape[1]
    for b in range(first, last):
        for t in range(T):
            at = b * T + t
            if marks.size and t % CHECKPOINT == 0:
                for i in range(V):
                    for j in range(K):
                        marks[(t // CHECKPOINT * B + b) * V + i, j] = S[b * V + i, j]
            for i in range(V):
                y[at, i] = _step(S, b * V + i, b * V + i, start[b, t], r[at, i], v[at, i], c, k, q, at)


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; the gradient of the last state comes in that of the first, `gS`."""
    q, k, v, r, c, start, marks, dy, gS, dq, dk, dv, dr, dc = arrays
    (B, T), V, K = start.shape, v.shape[1], q.shape[1]
    zero, one, bound = q.dtype.type(0), q.dtype.type(1), q.dtype.type(LARGEST)
    states, tanh = np.empty(((CHECKPOINT + 1) * V, K), q.dtype), np.empty((1, K), q.dtype)
    for b in range(first, last):
        for t0 in range((T - 1) // CHECKPOINT * CHECKPOINT, -1, -CHECKPOINT):
            n = min(CHECKPOINT, T - t0)
            for i in range(V):
                for j in range(K):
                    states[i, j] = marks[(t0 // CHECKPOINT * B + b) * V + i, j]
                for s in range(n):
                    at = b * T + t0 + s
                    _step(states, s * V + i, (s + 1) * V + i, start[b, t0 + s], r[at, i], v[at, i], c, k, q, at)
            for s in range(n - 1, -1, -1):
                at = b * T + t0 + s
                for i in range(V):
                    before, after, row = s * V + i, (s + 1) * V + i, b * V + i
                    by, gv, gr = dy[at, i], zero, zero
                    _bend(tanh, r[at, i], c, at)
                    for j in range(K):
                        end = states[after, j]
                        dq[at, j] += by * end
                        g = gS[row, j] + by * q[at, j]
                        g = zero if abs(end) >= bound else g
                        gv += g * k[at, j]
                        dk[at, j] += g * v[at, i]
                        old = zero if start[b, t0 + s] else states[before, j]
                        gu = g * old * (one - tanh[0, j] * tanh[0, j])
                        gr += gu * c[at, j]
                        dc[at, j] += gu * r[at, i]
                        gS[row, j] = zero if start[b, t0 + s] else g * (one + tanh[0, j])
                    dv[at, i], dr[at, i] = gv, gr


@jit
def _step(
    S: Array, before: int, after: int, fresh: bool, r: float, v: float, c: Array, k: Array, q: Array, at: int
) -> Any:
    """Write a row of S after a step from the one before it; return its reading."""
    zero, one, bound, K = S.dtype.type(0), S.dtype.type(1), S.dtype.type(LARGEST), S.shape[1]
    said, tanh = zero, np.empty((1, K), S.dtype)
    if fresh:
        for j in range(K):
            S[after, j] = v * k[at, j]
    else:
        _bend(tanh, r, c, at)
        for j in range(K):
            S[after, j] = S[before, j] * (one + tanh[0, j]) + v * k[at, j]
    for j in range(K):
        e = S[after, j]
        e = bound if e > bound else (-bound if e < -bound else e)  # what is no number stays none
        S[after, j] = e
        said += e * q[at, j]
    return said


@jit
def _bend(tanh: Array, r: float, c: Array, at: int) -> None:
    """Write tanh(r c)."""
    one, two = tanh.dtype.type(1), tanh.dtype.type(2)
    if tanh.itemsize == 4:
        for j in range(tanh.shape[1]):
            u = r * c[at, j]
            e = _expm1(-two * abs(u))  # tanh |u| = -e / (2 + e)
            tanh[0, j] = (-one if u < 0 else one) * -e / (two + e)
    else:
        for j in range(tanh.shape[1]):
            tanh[0, j] = np.tanh(r * c[at, j])


@jit
def _expm1(x: Any) -> Any:
    """Return exp(x) - 1 of x <= 0 in single precision: 2^n (1 + p) - 1, p = expm1(r), |r| < log(2) / 2."""
    y = max(x, np.float32(-87))
    n = np.floor(y * np.float32(1.44269504) + np.float32(0.5))
    r = y - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)  # log(2) in two parts: no digits are lost
    p = np.float32(1 / 5040)
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    p = (p * r + np.float32(1)) * r
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return power * p + (power - np.float32(1))
