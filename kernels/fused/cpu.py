r"""Fused operations, each in one compiled pass; arguments as in `reference.py`.

Notation, for one step: x the input, z = sum_i w_i x_{t-i} the convolution over the inputs of the same life,
sigma = 1 / (1 + exp(-z)), s = z sigma, n = 1 / |s| over a head.

    q = n s                     ds = n (dq - q (q . dq))
    silu'(z) = sigma (1 + z (1 - sigma))
    y = x r w silu(g)           r = 1 / rms(x), xn = x r:  dx = r (dn - xn mean(dn xn)) with dn = dy w silu(g)

The backward pass recomputes all intermediate values, which is cheaper than loading them. The
exponential is a polynomial that compiles to vector instructions, right to float32's last digit; hence float32 only.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["bind_linear", "bind_norm", "gated_linear", "gated_norm", "qkv"]

EPS = 1e-5
TINY = 1e-6
PIECES = 16  # into which rows are cut for the threads; each sums its own gradient of the weights


def qkv(
    x: Tensor, weight: Tensor, state: Tensor, start: Tensor, num_heads: int, key_dim: int, unit: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.qkv` in one compiled pass; differentiable once."""
    if torch.is_grad_enabled() and any(z.requires_grad for z in (x, weight, state)):
        made: tuple[Tensor, Tensor, Tensor, Tensor] = _QKV.apply(x, weight, state, start, num_heads, key_dim, unit)  # type: ignore[no-untyped-call]
        return made
    return _run_qkv(x, weight, state, start, num_heads, key_dim, unit)


def gated_norm(x: Tensor, weight: Tensor, gate: Tensor | None = None) -> Tensor:
    """Compute `reference.gated_norm` in one compiled pass; differentiable once."""
    if torch.is_grad_enabled() and any(z is not None and z.requires_grad for z in (x, weight, gate)):
        made: Tensor = _GatedNorm.apply(x, weight, gate)  # type: ignore[no-untyped-call]
        return made
    return _run_norm(x, weight, gate)


def gated_linear(z: Tensor) -> Tensor:
    """Compute `reference.gated_linear` in one compiled pass; differentiable once."""
    if torch.is_grad_enabled() and z.requires_grad:
        made: Tensor = _GatedLinear.apply(z)  # type: ignore[no-untyped-call]
        return made
    return _run_linear(z)


class _QKV(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, weight, state, start, _, _, ctx.unit = inputs
        ctx.save_for_backward(x, weight, state, start)
        return _run_qkv(*inputs)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor, dafter: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        x, weight, state, start = (z.contiguous() for z in ctx.saved_tensors)
        B, T, C = x.shape
        dx, dstate = torch.empty_like(x), torch.empty_like(state)
        dweight = x.new_zeros(B, weight.shape[1], C)  # each life sums its own
        dq, dk, dv, dafter = (z.contiguous() for z in (dq, dk, dv, dafter))
        unit = x.new_ones(1) if ctx.unit else None
        arrays = rows(x.dtype, x, weight.mT.contiguous(), state, start, dq, dk, dv, dafter, dx, dstate, dweight, unit)
        spread(_qkv_backward, B, 8 * T * C, arrays)
        return dx, dweight.sum(0).mT, dstate, None, None, None, None


def _run_qkv(
    x: Tensor, weight: Tensor, state: Tensor, start: Tensor, num_heads: int, key_dim: int, unit: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, weight, state, start = (z.detach().contiguous() for z in (x, weight, state, start))
    B, T, C = x.shape
    q, k = x.new_empty(B, T, num_heads, key_dim), x.new_empty(B, T, num_heads, key_dim)
    v, after = x.new_empty(B, T, num_heads, C // num_heads - 2 * key_dim), torch.empty_like(state)
    arrays = rows(x.dtype, x, weight.mT.contiguous(), state, start, q, k, v, after, x.new_ones(1) if unit else None)
    spread(_qkv, B, 4 * T * C, arrays)
    return q, k, v, after


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        ctx.save_for_backward(*inputs)
        return _run_norm(*inputs)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        x, weight, gate = ctx.saved_tensors
        x, weight, gate = x.contiguous(), weight.contiguous(), None if gate is None else gate.contiguous()
        dx, dgate = torch.empty_like(x), None if gate is None else torch.empty_like(gate)
        dweight = x.new_zeros(PIECES, weight.numel())
        spread(
            _norm_backward,
            PIECES,
            4 * x.numel() // PIECES,
            rows(x.dtype, x, weight, gate, dy.contiguous(), dx, dweight, dgate),
        )
        return dx, dweight.sum(0), dgate


def _run_norm(x: Tensor, weight: Tensor, gate: Tensor | None) -> Tensor:
    x, weight = x.detach().contiguous(), weight.detach().contiguous()
    y = torch.empty_like(x)
    bind_norm(x, weight, y, None if gate is None else gate.detach().contiguous())()
    return y


class _GatedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        ctx.save_for_backward(*inputs)
        return _run_linear(*inputs)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        z = ctx.saved_tensors[0].contiguous()
        dz = torch.empty_like(z)
        spread(
            _linear_backward, PIECES, 4 * z.numel() // PIECES, rows(z.dtype, _halves(z), dy.contiguous(), _halves(dz))
        )
        return dz


def _run_linear(z: Tensor) -> Tensor:
    z = z.detach().contiguous()
    y = z.new_empty(*z.shape[:-1], z.shape[-1] // 2)
    bind_linear(z, y)()
    return y


def bind_norm(x: Tensor, weight: Tensor, y: Tensor, gate: Tensor | None = None) -> Callable[[], None]:
    """Return a call that writes `reference.gated_norm` of these contiguous tensors, as they then are, into y."""
    arrays = rows(x.dtype, x, weight.detach(), gate, y)
    return partial(spread, _norm, PIECES, 2 * x.numel() // PIECES, arrays)


def bind_linear(z: Tensor, y: Tensor) -> Callable[[], None]:
    """Return a call that writes `reference.gated_linear` of a contiguous z, as it then is, into y."""
    return partial(spread, _linear, PIECES, 2 * z.numel() // PIECES, rows(z.dtype, _halves(z), y))


def _halves(z: Tensor) -> Tensor:
    return z.view(-1, z.shape[-1] // 2)


# Below, all arrays are rows of their last axis: row b T + t is step t of life b, row (b T + t) H + h is its head h.


@jit
def _sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)); exp(y) = 2^n exp(r) with |r| < log(2) / 2, by a polynomial."""
    y = min(max(-x, np.float32(-87)), np.float32(87))
    n = np.floor(y * np.float32(1.44269504) + np.float32(0.5))
    r = y - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)  # log(2) in two parts: no digits are lost
    p = np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    p = (p * r + np.float32(1)) * r + np.float32(1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.float32(1) / (np.float32(1) + p * power)


@jit
def _convolve(z: Array, x: Array, weight: Array, window: Array, b: int, t: int, row: int, past: int) -> None:
    """Write the convolution of step t of life b into z [C]; only the `past` inputs before it count."""
    W = weight.shape[0]
    for c in range(z.size):
        z[c] = weight[W - 1, c] * x[row, c]
    for i in range(1, past + 1):
        if i <= t:
            for c in range(z.size):
                z[c] += weight[W - 1 - i, c] * x[row - i, c]
        else:
            for c in range(z.size):
                z[c] += weight[W - 1 - i, c] * window[b * (W - 1) + W - 1 + t - i, c]


@jit
def _qkv(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`."""
    x, weight, window, start, q, k, v, after, unit = arrays
    B, T = start.shape
    H, K, V, W = q.shape[0] // (B * T), q.shape[1], v.shape[1], weight.shape[0]
    z = np.zeros(x.shape[1], x.dtype)
    keys, values = _heads(z, 2 * H, K), _heads(z[2 * H * K :], H, V)
    for b in range(first, last):
        past = W - 1  # inputs of this life before the present one, as the convolution sees
        for t in range(T):
            row = b * T + t
            if start[b, t]:
                past = 0
            _convolve(z, x, weight, window, b, t, row, past)
            for c in range(z.size):
                z[c] *= _sigmoid(z[c])
            for h in range(H):
                _scale(q, row * H + h, keys, h, unit)
                _scale(k, row * H + h, keys, H + h, unit)
                _copy(v, row * H + h, values, h)
            past = min(past + 1, W - 1)
        for i in range(1, W):  # the input i - 1 steps before the last
            at = b * (W - 1) + W - 1 - i
            for c in range(z.size):
                if i > past:
                    after[at, c] = 0
                elif i <= T:
                    after[at, c] = x[(b + 1) * T - i, c]
                else:
                    after[at, c] = window[b * (W - 1) + W - 1 + T - i, c]


# Heads are rows of two axes, made once: a slice of one costs more than a loop over it.


@jit
def _heads(z: Array, count: int, size: int) -> Array:
    """Return the first numbers of z as rows of `count` heads."""
    return z[: count * size].reshape(count, size)


@jit
def _scale(q: Array, to: int, s: Array, row: int, unit: Array) -> None:
    """Write q = s / |s|, or q = s, of one row each."""
    if unit.size == 0:
        _copy(q, to, s, row)
        return
    total = s.dtype.type(TINY)
    for j in range(s.shape[1]):
        total += s[row, j] * s[row, j]
    n = s.dtype.type(1) / np.sqrt(total)  # an integer 1 would make it float64
    for j in range(s.shape[1]):
        q[to, j] = n * s[row, j]


@jit
def _copy(to: Array, to_row: int, source: Array, row: int) -> None:
    for j in range(source.shape[1]):
        to[to_row, j] = source[row, j]


@jit
def _qkv_backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; `dweight` comes as zeros."""
    x, weight, window, start, dq, dk, dv, dafter, dx, dwindow, dweight, unit = arrays
    B, T = start.shape
    H, K, V, W, C = dq.shape[0] // (B * T), dq.shape[1], dv.shape[1], weight.shape[0], x.shape[1]
    z, s, dz = np.zeros(C, x.dtype), np.zeros(C, x.dtype), np.zeros(C, x.dtype)
    keys, dkeys, dvalues = _heads(s, 2 * H, K), _heads(dz, 2 * H, K), _heads(dz[2 * H * K :], H, V)
    for b in range(first, last):
        past, old = W - 1, b * (W - 1)
        for i in range(old, old + W - 1):
            for c in range(C):
                dwindow[i, c] = 0
        for t in range(T):
            row = b * T + t
            if start[b, t]:
                past = 0
            _convolve(z, x, weight, window, b, t, row, past)
            _silu_and_slope(z, s)
            for h in range(H):
                _undo_scale(dkeys, h, keys, dq, row * H + h, unit)
                _undo_scale(dkeys, H + h, keys, dk, row * H + h, unit)
                _copy(dvalues, h, dv, row * H + h)
            at = b * W + W - 1
            _times(dz, z)
            _begin_input(dx, dweight, dz, x, weight, row, at, W - 1)
            for i in range(1, past + 1):
                if i <= t:
                    _add_input(dx, dweight, dz, x, weight, row - i, at - i, W - 1 - i)
                else:
                    _add_input(dwindow, dweight, dz, window, weight, old + W - 1 + t - i, at - i, W - 1 - i)
            past = min(past + 1, W - 1)
        for i in range(1, past + 1):
            for c in range(C):
                if i <= T:
                    dx[(b + 1) * T - i, c] += dafter[old + W - 1 - i, c]
                else:
                    dwindow[old + W - 1 + T - i, c] += dafter[old + W - 1 - i, c]


@jit
def _silu_and_slope(z: Array, s: Array) -> None:
    """Write s = silu(z), and its derivative over z."""
    one = z.dtype.type(1)
    for c in range(z.size):
        sigma = _sigmoid(z[c])
        s[c] = z[c] * sigma
        z[c] = sigma * (one + z[c] * (one - sigma))


@jit
def _times(dz: Array, z: Array) -> None:
    for c in range(z.size):
        dz[c] *= z[c]


@jit
def _begin_input(dx: Array, dweight: Array, dz: Array, x: Array, weight: Array, row: int, at: int, i: int) -> None:
    """Write the gradient of an input, by weight i, and add to that of the weight."""
    for c in range(dz.size):
        dx[row, c] = dz[c] * weight[i, c]
        dweight[at, c] += dz[c] * x[row, c]


@jit
def _add_input(dx: Array, dweight: Array, dz: Array, x: Array, weight: Array, row: int, at: int, i: int) -> None:
    """Add to the gradient of an input, by weight i, and to that of the weight."""
    for c in range(dz.size):
        dx[row, c] += dz[c] * weight[i, c]
        dweight[at, c] += dz[c] * x[row, c]


@jit
def _undo_scale(ds: Array, to: int, s: Array, dq: Array, row: int, unit: Array) -> None:
    """Write ds = n (dq - q (q . dq)) for q = n s, or ds = dq; s and ds have the same row."""
    if unit.size == 0:
        _copy(ds, to, dq, row)
        return
    total, along = s.dtype.type(TINY), s.dtype.type(0)
    for j in range(dq.shape[1]):
        total += s[to, j] * s[to, j]
        along += s[to, j] * dq[row, j]
    n = s.dtype.type(1) / np.sqrt(total)
    along *= n * n
    for j in range(dq.shape[1]):
        ds[to, j] = n * (dq[row, j] - s[to, j] * along)


@jit
def _norm(first: int, last: int, arrays: Arrays) -> None:
    """Run the pieces from `first` to before `last`."""
    x, weight, gate, y = arrays
    N, V = x.shape
    for row in range(N * first // PIECES, N * last // PIECES):
        r = _one_over_rms(x, row)
        if gate.size:
            for i in range(V):
                y[row, i] = x[row, i] * r * weight[0, i] * gate[row, i] * _sigmoid(gate[row, i])
        else:
            for i in range(V):
                y[row, i] = x[row, i] * r * weight[0, i]


@jit
def _one_over_rms(x: Array, row: int) -> float:
    total = x.dtype.type(0)
    for i in range(x.shape[1]):
        total += x[row, i] * x[row, i]
    r: float = x.dtype.type(1) / np.sqrt(total / x.dtype.type(x.shape[1]) + x.dtype.type(EPS))
    return r


@jit
def _norm_backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the pieces from `first` to before `last`; `dweight` comes as zeros, a row for each piece."""
    x, weight, gate, dy, dx, dweight, dgate = arrays
    N, V = x.shape
    dn, one = np.zeros(V, x.dtype), x.dtype.type(1)
    for piece in range(first, last):
        for row in range(N * piece // PIECES, N * (piece + 1) // PIECES):
            r = _one_over_rms(x, row)
            if gate.size:
                for i in range(V):
                    g = gate[row, i]
                    sigma = _sigmoid(g)
                    n = x[row, i] * r * weight[0, i]
                    dgate[row, i] = dy[row, i] * n * sigma * (one + g * (one - sigma))
                    dn[i] = dy[row, i] * g * sigma
            else:
                for i in range(V):
                    dn[i] = dy[row, i]
            along = x.dtype.type(0)
            for i in range(V):
                dweight[piece, i] += dn[i] * x[row, i] * r
                dn[i] *= weight[0, i]
                along += dn[i] * x[row, i]
            along *= r * r / x.dtype.type(V)
            for i in range(V):
                dx[row, i] = r * (dn[i] - x[row, i] * along)


@jit
def _linear(first: int, last: int, arrays: Arrays) -> None:
    """Run the pieces from `first` to before `last`; rows 2 n and 2 n + 1 of z are the halves of one."""
    z, y = arrays
    N, E = y.shape
    for row in range(N * first // PIECES, N * last // PIECES):
        for i in range(E):
            y[row, i] = z[2 * row, i] * _sigmoid(z[2 * row, i]) * z[2 * row + 1, i]


@jit
def _linear_backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the pieces from `first` to before `last`."""
    z, dy, dz = arrays
    N, E = dy.shape
    one = z.dtype.type(1)
    for row in range(N * first // PIECES, N * last // PIECES):
        left, right = 2 * row, 2 * row + 1
        for i in range(E):
            z_i, out = z[left, i], dy[row, i]
            sigma = _sigmoid(z_i)
            dz[left, i] = out * z[right, i] * sigma * (one + z_i * (one - sigma))
            dz[right, i] = out * z_i * sigma
