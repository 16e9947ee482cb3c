r"""A matrix that computes its own updates as a compiled loop; arguments as in `reference.py`.

Notation, for one step: W = A + F, o = W x, d = q - k, u = W d, F' = F + (beta * u) k^T, l the lengths of its rows,
F'' = F' min(limit / l, 1). Gradients, last step first; g. is the gradient of what follows the dot:

    g.F' = min(limit / l, 1) g.F'',   minus  limit / l^3 (g.F'' . F') F'  in the rows that were shortened
    g.k = g.F'^T (beta * u) - W^T (g.u),   g.q = W^T (g.u),   g.u = beta * (g.F' k),   g.beta = u * (g.F' k)
    g.o = (g.y; g.q and g.k through the softmax; g.beta through the sigmoid)
    g.W = g.u d^T + g.o x^T,   g.x = W^T g.o,   g.F = g.F' + g.W,   g.A += g.W

The forward pass keeps F every `CHECKPOINT` steps; the backward pass makes those between again.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["self_referential"]

CHECKPOINT = 16  # steps between the states kept for the backward pass
TINY = 1e-30  # as in `reference.py`


def self_referential(x: Tensor, weight: Tensor, state: Tensor, start: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Compute `reference.self_referential` in one compiled loop; float32 or float64, differentiable once."""
    if torch.is_grad_enabled() and any(z.requires_grad for z in (x, weight, state)):
        made: tuple[Tensor, Tensor] = _SelfReferential.apply(x, weight, state, start, limit)  # type: ignore[no-untyped-call]
        return made
    return _run(x, weight, state, start, limit, save=False)[:2]


class _SelfReferential(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        y, end, kept = _run(*inputs, save=True)
        ctx.save_for_backward(*kept)
        return y, end

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        x, weight, start, bound, marks = ctx.saved_tensors
        dx, dstate = torch.empty_like(x), dend.clone(memory_format=torch.contiguous_format)
        dweight = weight.new_zeros(len(x), *weight.shape)  # each life sums its own
        arrays = rows(x.dtype, x, weight, start, bound, marks, dy.contiguous(), dx, dstate, dweight)
        spread(_backward, x.shape[0] * x.shape[2], 4 * start.shape[1] * weight[0].numel(), arrays)
        return dx, dweight.sum(0), dstate, None, None


def _run(
    x: Tensor, weight: Tensor, state: Tensor, start: Tensor, limit: float, *, save: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Run forward; return y, the last state and what the backward pass needs."""
    x, weight, start = (z.detach().contiguous() for z in (x, weight, start))
    (B, T, H, _), y, end = x.shape, torch.empty_like(x), own_state(state) if save else next_state(state)
    bound, marks = x.new_full((1, 1), limit), x.new_empty((-(-T // CHECKPOINT) if save else 0, *end.shape))
    arrays = rows(x.dtype, x, weight, start, bound, marks, end, y)
    spread(_forward, B * H, T * weight[0].numel(), arrays)
    return y, end, (x, weight, start, bound, marks)


# Row (b H + h) R + r of a state is row r of head h of life b.


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; states come as those before the first step."""
    x, weight, start, bound, marks, F, y = arrays
    T, N = start.shape[1], x.shape[1]
    H, R = len(x) // start.size, 3 * N + 4
    o, work = np.empty(R, x.dtype), np.empty((3, N), x.dtype)
    for head in range(first, last):
        b, h = head // H, head % H
        for t in range(T):
            if marks.size and t % CHECKPOINT == 0:
                at = t // CHECKPOINT * len(F) + head * R
                for r in range(R):
                    _copy(marks, at + r, F, head * R + r)
            row = (b * T + t) * H + h
            if start[b, t]:
                for r in range(R):
                    _fill(F, head * R + r)
            _read(x, row, weight, h * R, F, head * R, o, work)
            for n in range(N):
                y[row, n] = o[n]
            for r in range(R):
                _write(weight, h * R + r, F, head * R + r, _rate(o, r, N), work, bound[0, 0])


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; the gradient of the last state comes in that of the first."""
    x, weight, start, bound, marks, dy, dx, dF, dweight = arrays
    T, N, one, zero = start.shape[1], x.shape[1], x.dtype.type(1), x.dtype.type(0)
    H, R = len(x) // start.size, 3 * N + 4
    F = np.zeros(((CHECKPOINT + 1) * R, N), x.dtype)  # before and after each step since the checkpoint
    raw, o, go = np.empty((1, N), x.dtype), np.empty(R, x.dtype), np.empty(R, x.dtype)
    work, back = np.empty((3, N), x.dtype), np.empty((2, N), x.dtype)
    for head in range(first, last):
        b, h = head // H, head % H
        for piece in range((T - 1) // CHECKPOINT, -1, -1):
            t0, t1 = piece * CHECKPOINT, min(T, (piece + 1) * CHECKPOINT)
            for r in range(R):
                _copy(F, r, marks, piece * len(dF) + head * R + r)
            for t in range(t0, t1):
                now = (t - t0) * R
                if start[b, t]:
                    for r in range(R):
                        _fill(F, now + r)
                _read(x, (b * T + t) * H + h, weight, h * R, F, now, o, work)
                for r in range(R):
                    _copy(F, now + R + r, F, now + r)
                    _write(weight, h * R + r, F, now + R + r, _rate(o, r, N), work, bound[0, 0])
            for t in range(t1 - 1, t0 - 1, -1):
                now, row = (t - t0) * R, (b * T + t) * H + h
                _read(x, row, weight, h * R, F, now, o, work)
                for n in range(N):
                    dx[row, n] = back[0, n] = back[1, n] = 0
                for block in range(4):
                    go[3 * N + block] = 0
                for r in range(R):
                    at, to = now + r, head * R + r
                    rate, u = _rate(o, r, N), zero
                    for n in range(N):
                        u += (weight[h * R + r, n] + F[at, n]) * work[2, n]
                    length, along, by = x.dtype.type(TINY), zero, zero
                    for n in range(N):
                        raw[0, n] = F[at, n] + rate * u * work[1, n]
                        length += raw[0, n] * raw[0, n]
                        along += dF[to, n] * raw[0, n]
                    length = np.sqrt(length)
                    if bound[0, 0] < length:
                        share = bound[0, 0] / length
                        for n in range(N):
                            dF[to, n] = share * (dF[to, n] - along / (length * length) * raw[0, n])
                    for n in range(N):
                        by += dF[to, n] * work[1, n]
                        back[1, n] += rate * u * dF[to, n]  # of k
                    go[3 * N + min(r // N, 3)] += by * u * rate * (one - rate)
                    by *= rate  # of u
                    for n in range(N):
                        W = weight[h * R + r, n] + F[at, n]
                        back[0, n] += by * W  # of q, and minus that of k
                        dF[to, n] += by * work[2, n]
                        dweight[to, n] += by * work[2, n]
                for n in range(N):
                    back[1, n] -= back[0, n]
                    go[n] = dy[row, n]
                for part in range(2):
                    mean = zero
                    for n in range(N):
                        mean += back[part, n] * work[part, n]
                    for n in range(N):
                        go[(part + 1) * N + n] = work[part, n] * (back[part, n] - mean)
                for r in range(R):
                    by, at, to = go[r], now + r, head * R + r
                    for n in range(N):
                        dx[row, n] += by * (weight[h * R + r, n] + F[at, n])
                        dF[to, n] += by * x[row, n]
                        dweight[to, n] += by * x[row, n]
                if start[b, t]:
                    for r in range(R):
                        _fill(dF, head * R + r)


@jit
def _read(x: Array, row: int, weight: Array, first: int, F: Array, at: int, o: Array, work: Array) -> None:
    """Write o = (A + F) x, and softmax(q), softmax(k) and their difference into the rows of `work`."""
    N = x.shape[1]
    for r in range(len(o)):
        total = x.dtype.type(0)
        for n in range(N):
            total += (weight[first + r, n] + F[at + r, n]) * x[row, n]
        o[r] = total
    for part in range(2):
        largest, total = o[(part + 1) * N], x.dtype.type(0)
        for n in range(N):
            largest = max(largest, o[(part + 1) * N + n])
        for n in range(N):
            work[part, n] = np.exp(o[(part + 1) * N + n] - largest)
            total += work[part, n]
        for n in range(N):
            work[part, n] /= total
    for n in range(N):
        work[2, n] = work[0, n] - work[1, n]


@jit
def _rate(o: Array, r: int, N: int) -> float:
    """Return beta of row r."""
    one = o.dtype.type(1)
    rate: float = one / (one + np.exp(-o[3 * N + min(r // N, 3)]))
    return rate


@jit
def _write(weight: Array, slow: int, F: Array, row: int, rate: float, work: Array, bound: float) -> None:
    """Bring a row of F to after the step."""
    N, total, length = weight.shape[1], weight.dtype.type(0), weight.dtype.type(TINY)
    for n in range(N):
        total += (weight[slow, n] + F[row, n]) * work[2, n]
    total *= rate
    for n in range(N):
        F[row, n] += total * work[1, n]
        length += F[row, n] * F[row, n]
    length = np.sqrt(length)
    if bound < length:
        for n in range(N):
            F[row, n] *= bound / length


@jit
def _copy(to: Array, row: int, x: Array, at: int) -> None:
    for n in range(to.shape[1]):
        to[row, n] = x[at, n]


@jit
def _fill(x: Array, row: int) -> None:
    for n in range(x.shape[1]):
        x[row, n] = 0
