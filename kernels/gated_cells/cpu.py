r"""GRU and LSTM as compiled loops; arguments as in `reference.py`.

A loop runs some lives side by side, so that a row of U is read once for all of them. Gradients, last step first; g. is
the gradient of what follows the dot, of states that of what came from later steps too, a prime marks the state before:

    GRU:   g.n = g.h (1 - z) (1 - n^2),   g.r = g.n n_h r (1 - r),   g.z = g.h (h' - n) z (1 - z)
           g.u = (g.r, g.z, g.n),   g.(U h' + b) = (g.r, g.z, r g.n),   g.h' = z g.h + U^T g.(U h' + b)
    LSTM:  g.o = g.h tanh(c) o (1 - o),   g.c += g.h o (1 - tanh(c)^2)
           g.i = g.c g i (1 - i),   g.f = g.c c' f (1 - f),   g.g = g.c i (1 - g^2)
           g.u = (g.i, g.f, g.g, g.o),   g.h' = U^T g.u,   g.c' = f g.c

Those of U and b are sums over all steps, one product of matrices behind the loop: g.U = sum g.(U h') h'^T.
The forward pass keeps gates and the states before each step. Sigmoid and tanh are polynomials that compile to vector
instructions, right to float32's last digits; hence float32 only.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["gru", "lstm"]

BLOCK = 8  # lives side by side


def gru(given: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor, start: Tensor) -> Tensor:
    """Compute `reference.gru` in one compiled loop; differentiable once."""
    inputs = (given, recurrent, bias, h, start)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        made: Tensor = _GRU.apply(*inputs)  # type: ignore[no-untyped-call]
        return made
    return _run_gru(*inputs)[0]


def lstm(given: Tensor, recurrent: Tensor, h: Tensor, c: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `reference.lstm` in one compiled loop; differentiable once."""
    inputs = (given, recurrent, h, c, start)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        made: tuple[Tensor, Tensor] = _LSTM.apply(*inputs)  # type: ignore[no-untyped-call]
        return made
    return _run_lstm(*inputs)[0]


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        hs, kept = _run_gru(*inputs)
        ctx.save_for_backward(*kept)
        return hs

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dhs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        recurrent, before, gates, start = ctx.saved_tensors
        (B, T), N = start.shape, recurrent.shape[1]
        dgiven, dheard, dh = gates.new_empty(B, T, 3 * N), gates.new_empty(B, T, 3 * N), gates.new_zeros(B, N)
        arrays = rows(gates.dtype, recurrent, before, gates, start, dhs.contiguous(), dh, dgiven, dheard)
        spread(_gru_backward, B, T * recurrent.numel(), arrays)
        return dgiven, _outer(dheard, before), dheard.sum((0, 1)), dh, None


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        outputs, kept = _run_lstm(*inputs)
        ctx.save_for_backward(*kept)
        return outputs

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dhs: Tensor, dafter: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        recurrent, before, cells, gates, start = ctx.saved_tensors
        dgiven, dh = torch.empty_like(gates), torch.zeros_like(dafter, memory_format=torch.contiguous_format)
        dc = dafter.clone(memory_format=torch.contiguous_format)
        arrays = rows(gates.dtype, recurrent, cells, gates, start, dhs.contiguous(), dh, dc, dgiven)
        spread(_lstm_backward, len(start), start.shape[1] * recurrent.numel(), arrays)
        return dgiven, _outer(dgiven, before), dh, dc, None


def _outer(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of x y^T over all steps, [M, N]."""
    return x.flatten(0, 1).mT @ y.flatten(0, 1)


def _run_gru(
    given: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor, start: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run forward; return the outputs and what the backward pass needs."""
    given, recurrent, bias, h, start = (z.detach().contiguous() for z in (given, recurrent, bias, h, start))
    (B, T, _), N = given.shape, h.shape[1]
    hs, before, gates = given.new_empty(B, T, N), given.new_empty(B, T, N), given.new_empty(B, T, 4 * N)
    arrays = rows(given.dtype, given, recurrent.mT.contiguous(), bias[None], h, start, hs, before, gates)
    spread(_gru, B, T * recurrent.numel(), arrays)
    return hs, (recurrent, before, gates, start)


def _run_lstm(
    given: Tensor, recurrent: Tensor, h: Tensor, c: Tensor, start: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, ...]]:
    """Run forward; return the outputs and what the backward pass needs."""
    given, recurrent, h, start = (z.detach().contiguous() for z in (given, recurrent, h, start))
    (B, T, _), N = given.shape, h.shape[1]
    hs, before, cells = given.new_empty(B, T, N), given.new_empty(B, T, N), given.new_empty(B, T, N)
    gates, after = torch.empty_like(given), c.detach().clone(memory_format=torch.contiguous_format)
    arrays = rows(given.dtype, given, recurrent.mT.contiguous(), h, after, start, hs, before, cells, gates)
    spread(_lstm, B, T * recurrent.numel(), arrays)
    return (hs, after), (recurrent, before, cells, gates, start)


# Below, all arrays are rows of their last axis: row b T + t is step t of life b.


@jit
def _gru(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; gates are r, z, n and n_h."""
    given, weight, bias, h, start, hs, before, gates = arrays
    T, N, one = start.shape[1], h.shape[1], h.dtype.type(1)
    was, heard = np.empty((BLOCK, N), h.dtype), np.empty((BLOCK, 3 * N), h.dtype)
    for low in range(first, last, BLOCK):
        count = min(BLOCK, last - low)
        for b in range(count):
            for d in range(N):
                was[b, d] = h[low + b, d]
        for t in range(T):
            for b in range(count):
                row = (low + b) * T + t
                for d in range(N):
                    was[b, d] = one - one if start[low + b, t] else was[b, d]
                    before[row, d] = was[b, d]
            _product(heard, was, weight, count)
            for b in range(count):
                row = (low + b) * T + t
                for d in range(N):
                    r = _sigmoid(given[row, d] + heard[b, d] + bias[0, d])
                    z = _sigmoid(given[row, N + d] + heard[b, N + d] + bias[0, N + d])
                    n_h = heard[b, 2 * N + d] + bias[0, 2 * N + d]
                    n = _tanh(given[row, 2 * N + d] + r * n_h)
                    gates[row, d], gates[row, N + d], gates[row, 2 * N + d], gates[row, 3 * N + d] = r, z, n, n_h
                    was[b, d] = (one - z) * n + z * was[b, d]
                    hs[row, d] = was[b, d]


@jit
def _gru_backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`, last step first."""
    weight, before, gates, start, dhs, dh, dgiven, dheard = arrays
    T, N, one = start.shape[1], dh.shape[1], dh.dtype.type(1)
    heard, back = np.empty((BLOCK, 3 * N), dh.dtype), np.empty((BLOCK, N), dh.dtype)
    for low in range(first, last, BLOCK):
        count = min(BLOCK, last - low)
        for t in range(T - 1, -1, -1):
            for b in range(count):
                row = (low + b) * T + t
                for d in range(N):
                    r, z, n = gates[row, d], gates[row, N + d], gates[row, 2 * N + d]
                    g = dh[low + b, d] + dhs[row, d]
                    g_n = g * (one - z) * (one - n * n)
                    g_r = g_n * gates[row, 3 * N + d] * r * (one - r)
                    g_z = g * (before[row, d] - n) * z * (one - z)
                    dgiven[row, d], dgiven[row, N + d], dgiven[row, 2 * N + d] = g_r, g_z, g_n
                    heard[b, d], heard[b, N + d], heard[b, 2 * N + d] = g_r, g_z, r * g_n
                    dh[low + b, d] = g * z
                for d in range(3 * N):
                    dheard[row, d] = heard[b, d]
            _product(back, heard, weight, count)
            for b in range(count):
                for d in range(N):
                    total = dh[low + b, d] + back[b, d]
                    dh[low + b, d] = one - one if start[low + b, t] else total


@jit
def _lstm(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; `c` becomes that after the last step."""
    given, weight, h, c, start, hs, before, cells, gates = arrays
    T, N = start.shape[1], h.shape[1]
    was, heard = np.empty((BLOCK, N), h.dtype), np.empty((BLOCK, 4 * N), h.dtype)
    for low in range(first, last, BLOCK):
        count = min(BLOCK, last - low)
        for b in range(count):
            for d in range(N):
                was[b, d] = h[low + b, d]
        for t in range(T):
            for b in range(count):
                row = (low + b) * T + t
                for d in range(N):
                    before[row, d] = was[b, d]
                    cells[row, d] = c[low + b, d]
                if start[low + b, t]:
                    for d in range(N):
                        was[b, d] = before[row, d] = cells[row, d] = 0
            _product(heard, was, weight, count)
            for b in range(count):
                row = (low + b) * T + t
                for d in range(N):
                    i = _sigmoid(given[row, d] + heard[b, d])
                    f = _sigmoid(given[row, N + d] + heard[b, N + d])
                    g = _tanh(given[row, 2 * N + d] + heard[b, 2 * N + d])
                    o = _sigmoid(given[row, 3 * N + d] + heard[b, 3 * N + d])
                    gates[row, d], gates[row, N + d], gates[row, 2 * N + d], gates[row, 3 * N + d] = i, f, g, o
                    c[low + b, d] = f * cells[row, d] + i * g
                    was[b, d] = o * _tanh(c[low + b, d])
                    hs[row, d] = was[b, d]


@jit
def _lstm_backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`, last step first."""
    weight, cells, gates, start, dhs, dh, dc, dgiven = arrays
    T, N, one = start.shape[1], dh.shape[1], dh.dtype.type(1)
    heard, back = np.empty((BLOCK, 4 * N), dh.dtype), np.empty((BLOCK, N), dh.dtype)
    for low in range(first, last, BLOCK):
        count = min(BLOCK, last - low)
        for t in range(T - 1, -1, -1):
            for b in range(count):
                row = (low + b) * T + t
                for d in range(N):
                    i, f, g, o = gates[row, d], gates[row, N + d], gates[row, 2 * N + d], gates[row, 3 * N + d]
                    c = _tanh(f * cells[row, d] + i * g)
                    by = dh[low + b, d] + dhs[row, d]
                    g_c = dc[low + b, d] + by * o * (one - c * c)
                    heard[b, d] = g_c * g * i * (one - i)
                    heard[b, N + d] = g_c * cells[row, d] * f * (one - f)
                    heard[b, 2 * N + d] = g_c * i * (one - g * g)
                    heard[b, 3 * N + d] = by * c * o * (one - o)
                    dc[low + b, d] = g_c * f
                for d in range(4 * N):
                    dgiven[row, d] = heard[b, d]
            _product(back, heard, weight, count)
            for b in range(count):
                for d in range(N):
                    dh[low + b, d] = back[b, d]
                if start[low + b, t]:
                    for d in range(N):
                        dh[low + b, d] = dc[low + b, d] = 0


@jit
def _product(out: Array, x: Array, weight: Array, count: int) -> None:
    """Write x W [count, M] of x [count, J] and W [J, M] into out; four rows of W at a time for all lives."""
    J, M = weight.shape
    for b in range(count):
        for m in range(M):
            out[b, m] = 0
    whole = J - J % 4
    for j in range(0, whole, 4):
        for b in range(count):
            x_0, x_1, x_2, x_3 = x[b, j], x[b, j + 1], x[b, j + 2], x[b, j + 3]
            for m in range(M):
                out[b, m] += (x_0 * weight[j, m] + x_1 * weight[j + 1, m]) + (
                    x_2 * weight[j + 2, m] + x_3 * weight[j + 3, m]
                )
    for j in range(whole, J):
        for b in range(count):
            for m in range(M):
                out[b, m] += x[b, j] * weight[j, m]


@jit
def _sigmoid(x: Any) -> Any:
    """Return sigmoid(x) = 1 / (2 + e) with e = exp(-x) - 1; NaN for NaN."""
    e = _expm1(min(max(-x, np.float32(-87)), np.float32(87)))
    return np.float32(1) / (np.float32(2) + e) if x == x else x


@jit
def _tanh(x: Any) -> Any:
    """Return tanh(x) = -e / (2 + e) with e = exp(-2 x) - 1 for x >= 0; NaN for NaN."""
    e = _expm1(max(np.float32(-2) * abs(x), np.float32(-87)))
    size = -e / (np.float32(2) + e)
    return (size if x > np.float32(0) else -size) if x == x else x


@jit
def _expm1(y: Any) -> Any:
    """Return exp(y) - 1 for |y| <= 87, as `inner_loop/loops.py` does: no loop may call one of another file."""
    n = np.floor(y * np.float32(1.44269504) + np.float32(0.5))
    r = y - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1 / 5040)
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    p = (p * r + np.float32(1)) * r
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return power * p + (power - np.float32(1))
