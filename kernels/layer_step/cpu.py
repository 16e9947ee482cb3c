r"""The layer's step in one compiled pass over the lives; arguments as in `reference.py`, float32, no gradients.

Each life is taken through the whole step while its numbers are in cache: its window moves on, its matrices are read
once and written once.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.compiled import Array, Arrays, jit, rows, spread
from lifelong.kernels.overwrite import next_state

__all__ = ["layer_step"]

EPS = 1e-5
TINY = 1e-6


@torch.no_grad()
def layer_step(
    z: Tensor, bias: Tensor, conv: Tensor, norm: Tensor, window: Tensor, state: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `reference.layer_step` does in one compiled pass, without gradients."""
    B, H, V, K = state.shape
    window, state = next_state(window), next_state(state)
    y = z.new_empty(B, H * V)
    arrays = rows(z.dtype, z.contiguous(), bias, conv.mT.contiguous(), norm, window, start, y, state)
    spread(_step, B, H * V * K, arrays)
    return y, window, state


@jit
def _step(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; arrays are rows of their last axis."""
    z, bias, taps, norm, window, start, y, S = arrays
    C, W, V, K = taps.shape[1], taps.shape[0], norm.shape[1], S.shape[1]
    H = y.shape[1] // V
    x, k, q = np.zeros(C, z.dtype), np.zeros(K, z.dtype), np.zeros(K, z.dtype)
    v, read = np.zeros(V, z.dtype), np.zeros(V, z.dtype)
    eps, tiny, one = z.dtype.type(EPS), z.dtype.type(TINY), z.dtype.type(1)
    for b in range(first, last):
        old = b * (W - 1)
        if start[0, b]:
            for i in range(W - 1):
                for c in range(C):
                    window[old + i, c] = 0
            for i in range(b * H * V, (b + 1) * H * V):
                for j in range(K):
                    S[i, j] = 0
        for c in range(C):
            x[c] = taps[W - 1, c] * z[b, c]
        for i in range(W - 1):
            for c in range(C):
                x[c] += taps[i, c] * window[old + i, c]
        for i in range(W - 2):
            for c in range(C):
                window[old + i, c] = window[old + i + 1, c]
        if W > 1:
            for c in range(C):
                window[old + W - 2, c] = z[b, c]
        for c in range(C):
            x[c] *= _sigmoid(x[c])
        for h in range(H):
            _cut(q, x, h * K)
            _cut(k, x, (H + h) * K)
            _cut(v, x, 2 * H * K + h * V)
            _unit(q, tiny)
            _unit(k, tiny)
            beta = _sigmoid(z[b, C + h] + bias[0, h])
            a = _sigmoid(-(z[b, C + H + h] + bias[0, H + h]))  # exp(-softplus(x)) = sigmoid(-x)
            total = z.dtype.type(0)
            for i in range(V):
                row = (b * H + h) * V + i
                u = z.dtype.type(0)
                for j in range(K):
                    u += S[row, j] * k[j]
                w, out = beta * (v[i] - a * u), z.dtype.type(0)
                for j in range(K):
                    new = a * S[row, j] + w * k[j]
                    S[row, j] = new
                    out += new * q[j]
                read[i] = out
                total += out * out
            r = one / np.sqrt(total / z.dtype.type(V) + eps)
            for i in range(V):
                gate = z[b, C + 2 * H + h * V + i]
                y[b, h * V + i] = read[i] * r * norm[0, i] * gate * _sigmoid(gate)


@jit
def _cut(to: Array, x: Array, base: int) -> None:
    part = x[base : base + to.size]
    for j in range(to.size):
        to[j] = part[j]


@jit
def _unit(x: Array, tiny: Any) -> None:
    """Divide x by its length."""
    total = tiny
    for j in range(x.size):
        total += x[j] * x[j]
    n = x.dtype.type(1) / np.sqrt(total)
    for j in range(x.size):
        x[j] *= n


@jit
def _sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)), as `fused/cpu.py` does."""
    y = min(max(-x, np.float32(-87)), np.float32(87))
    n = np.floor(y * np.float32(1.44269504) + np.float32(0.5))
    r = y - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    p = (p * r + np.float32(1)) * r + np.float32(1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.float32(1) / (np.float32(1) + p * power)
