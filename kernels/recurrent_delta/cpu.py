r"""The delta rule with feedback as a compiled loop; arguments as in `reference.py`.

Notation, for one step: a = tanh(y), o = z + R a, q and k after the softmax, beta after the sigmoid, e = v - S k,
S' = S + beta e k^T, y' = S' q. Gradients, last step first; g. is the gradient of what follows the dot:

    g.S' += g.y' q^T,   g.q = S'^T g.y'
    g.v = g.e = beta g.S' k,   g.beta = e^T g.S' k,   g.k = g.S'^T beta e - S^T g.e,   g.S = g.S' - g.e k^T
    g.o = (g.q and g.k through the softmax; g.v; g.beta through the sigmoid)
    g.z = g.o,   g.R += g.o a^T,   g.y = (R^T g.o) (1 - a^2), added to that of the step before

The forward pass keeps S every `CHECKPOINT` steps; the backward pass makes those between again.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["recurrent_delta"]

CHECKPOINT = 16  # steps between the states kept for the backward pass


def recurrent_delta(z: Tensor, feedback: Tensor, S: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `reference.recurrent_delta` in one compiled loop; float32 or float64, differentiable once."""
    inputs = (z, feedback, S, y, start)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        made: tuple[Tensor, Tensor] = _RecurrentDelta.apply(*inputs)  # type: ignore[no-untyped-call]
        return made
    return _run(*inputs, save=False)[:2]


class _RecurrentDelta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        ys, end, kept = _run(*inputs, save=True)
        ctx.save_for_backward(*kept)
        return ys, end

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dys: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        z, feedback, y, start, marks, ys = ctx.saved_tensors
        dz, dS, dy = torch.empty_like(z), dend.clone(memory_format=torch.contiguous_format), torch.zeros_like(y)
        dfeedback = feedback.new_zeros(len(z), *feedback.shape)  # each life sums its own
        arrays = rows(z.dtype, z, feedback, y, start, marks, ys, dys.contiguous(), dz, dS, dy, dfeedback)
        spread(_backward, y.shape[0] * y.shape[1], 4 * z.shape[1] * dS[0, 0].numel(), arrays)
        return dz, dfeedback.sum(0), dS, dy, None


def _run(
    z: Tensor, feedback: Tensor, S: Tensor, y: Tensor, start: Tensor, *, save: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Run forward; return the readings, the last state and what the backward pass needs."""
    z, feedback, y, start = (x.detach().contiguous() for x in (z, feedback, y, start))
    (B, T, H, _), V = z.shape, y.shape[-1]
    end, ys = own_state(S) if save else next_state(S), z.new_empty(B, T, H, V)
    marks = end.new_empty((-(-T // CHECKPOINT) if save else 0, *end.shape))
    spread(_forward, B * H, T * end[0, 0].numel(), rows(z.dtype, z, feedback, y, start, marks, end, ys))
    return ys, end, (z, feedback, y, start, marks, ys)


# Row (b H + h) V + i of S is row i of head h of life b.


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; S comes as that before the first step."""
    z, feedback, y, start, marks, S, ys = arrays
    T, P, V, K = start.shape[1], z.shape[1], y.shape[1], S.shape[1]
    H, o, heard, work = len(z) // start.size, np.empty(P, z.dtype), np.empty(V, z.dtype), np.empty((2, K), z.dtype)
    for head in range(first, last):
        b, h = head // H, head % H
        for t in range(T):
            row = (b * T + t) * H + h
            if start[b, t]:
                for i in range(V):
                    _fill(S, head * V + i)
            if marks.size and t % CHECKPOINT == 0:
                for i in range(V):
                    _copy(marks, t // CHECKPOINT * len(S) + head * V + i, S, head * V + i)
            _listen(heard, y if t == 0 else ys, head if t == 0 else row - H, start[b, t])
            rate = _hear(o, z, row, feedback, h * P, heard, work)
            for i in range(V):
                ys[row, i] = _correct(S, head * V + i, o[2 * K + i], rate, work)


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; the gradient of the last state comes in that of the first."""
    z, feedback, y, start, marks, ys, dys, dz, dS, dy, dfeedback = arrays
    T, P, V, K, one, zero = start.shape[1], z.shape[1], y.shape[1], dS.shape[1], z.dtype.type(1), z.dtype.type(0)
    H, o, heard, work = len(z) // start.size, np.empty(P, z.dtype), np.empty(V, z.dtype), np.empty((2, K), z.dtype)
    S, back, fed = np.empty(((CHECKPOINT + 1) * V, K), z.dtype), np.empty((2, K), z.dtype), np.empty(V, z.dtype)
    for head in range(first, last):
        b, h = head // H, head % H
        for i in range(V):
            fed[i] = 0
        for piece in range((T - 1) // CHECKPOINT, -1, -1):
            t0, t1 = piece * CHECKPOINT, min(T, (piece + 1) * CHECKPOINT)
            for i in range(V):
                _copy(S, i, marks, piece * len(dS) + head * V + i)
            for t in range(t0, t1):
                row, now = (b * T + t) * H + h, (t - t0) * V
                _listen(heard, y if t == 0 else ys, head if t == 0 else row - H, start[b, t])
                rate = _hear(o, z, row, feedback, h * P, heard, work)
                for i in range(V):
                    if start[b, t]:
                        _fill(S, now + i)
                    _copy(S, now + V + i, S, now + i)
                    _correct(S, now + V + i, o[2 * K + i], rate, work)
            for t in range(t1 - 1, t0 - 1, -1):
                row, now = (b * T + t) * H + h, (t - t0) * V
                _listen(heard, y if t == 0 else ys, head if t == 0 else row - H, start[b, t])
                rate = _hear(o, z, row, feedback, h * P, heard, work)
                for j in range(K):
                    back[0, j] = back[1, j] = 0
                turned = zero  # of beta
                for i in range(V):
                    at, to, by, error, along = now + i, head * V + i, dys[row, i] + fed[i], o[2 * K + i], zero
                    for j in range(K):
                        error -= S[at, j] * work[1, j]
                    for j in range(K):
                        dS[to, j] += by * work[0, j]
                        back[0, j] += by * (S[at, j] + rate * error * work[1, j])
                        along += dS[to, j] * work[1, j]
                    turned += error * along
                    wrong = rate * along
                    for j in range(K):
                        back[1, j] += rate * error * dS[to, j] - wrong * S[at, j]
                        dS[to, j] -= wrong * work[1, j]
                    dz[row, 2 * K + i] = wrong
                dz[row, P - 1] = turned * rate * (one - rate)
                for part in range(2):
                    mean = zero
                    for j in range(K):
                        mean += back[part, j] * work[part, j]
                    for j in range(K):
                        dz[row, part * K + j] = work[part, j] * (back[part, j] - mean)
                for i in range(V):
                    fed[i] = 0
                for p in range(P):
                    by, at, to = dz[row, p], h * P + p, head * P + p
                    for i in range(V):
                        fed[i] += by * feedback[at, i]
                        dfeedback[to, i] += by * heard[i]
                for i in range(V):
                    fed[i] *= zero if start[b, t] else one - heard[i] * heard[i]
                if start[b, t]:
                    for i in range(V):
                        _fill(dS, head * V + i)
        for i in range(V):
            dy[head, i] = fed[i]


@jit
def _listen(heard: Array, y: Array, row: int, fresh: bool) -> None:
    """Write tanh(y), 0 where a life starts."""
    for i in range(len(heard)):
        heard[i] = 0 if fresh else np.tanh(y[row, i])


@jit
def _hear(o: Array, z: Array, row: int, feedback: Array, first: int, heard: Array, work: Array) -> float:
    """Write o = z + R a, and softmax(q) and softmax(k) into the rows of `work`; return beta."""
    K, one = work.shape[1], z.dtype.type(1)
    for p in range(len(o)):
        total = z[row, p]
        for i in range(len(heard)):
            total += feedback[first + p, i] * heard[i]
        o[p] = total
    for part in range(2):
        largest, total = o[part * K], one - one
        for j in range(K):
            largest = max(largest, o[part * K + j])
        for j in range(K):
            work[part, j] = np.exp(o[part * K + j] - largest)
            total += work[part, j]
        for j in range(K):
            work[part, j] /= total
    rate: float = one / (one + np.exp(-o[len(o) - 1]))
    return rate


@jit
def _correct(S: Array, row: int, value: Any, rate: float, work: Array) -> Any:
    """Bring a row of S to after the step; return what is read of it."""
    error, read = value, S.dtype.type(0)
    for j in range(S.shape[1]):
        error -= S[row, j] * work[1, j]
    error *= rate
    for j in range(S.shape[1]):
        S[row, j] += error * work[1, j]
        read += S[row, j] * work[0, j]
    return read


@jit
def _copy(to: Array, row: int, x: Array, at: int) -> None:
    for j in range(to.shape[1]):
        to[row, j] = x[at, j]


@jit
def _fill(x: Array, row: int) -> None:
    for j in range(x.shape[1]):
        x[row, j] = 0
