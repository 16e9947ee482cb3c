r"""The layer's step in one compiled pass over the lives; arguments as in `reference.py`, float32, no gradients.

Each life is taken through the whole step while its numbers are in cache: its window moves on, its matrices are read
once and written once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.in_place import next_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["bind", "layer_step"]

EPS = 1e-5
TINY = 1e-6


@torch.no_grad()
def layer_step(
    z: Tensor, bias: Tensor, conv: Tensor, norm: Tensor, window: Tensor, state: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.layer_step` in one compiled pass, without gradients."""
    B, H, V, _ = state.shape
    window, state = next_state(window), next_state(state)
    y = z.new_empty(B, H * V)
    bind(z.contiguous(), bias, conv, norm, window, state, start, y)()
    return y, window, state


def bind(
    z: Tensor, bias: Tensor, conv: Tensor, norm: Tensor, window: Tensor, state: Tensor, start: Tensor, y: Tensor
) -> Callable[[], None]:
    """Return a call that computes `reference.layer_step` of contiguous tensors as they then are, all but the weights.

    Args:
        z: [B, C + H + H + H V] inputs.
        bias: [H + H] of the gates.
        conv: [C, W] weights; later changes of them have no effect.
        norm: [V] weights.
        window: [B, W - 1, C]; written over.
        state: [B, H, V, K]; written over.
        start: [B] bool.
        y: [B, H V]; written over.
    """
    B, H, V, K = state.shape
    weights = (bias.detach(), conv.detach().mT.contiguous(), norm.detach())
    return partial(spread, _step, B, H * V * K, rows(z.dtype, z, *weights, window, start, y, state))


@jit
def _step(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; arrays are rows of their last axis."""
    z, bias, conv, norm, window, start, y, S = arrays
    C, W, V, K = conv.shape[1], conv.shape[0], norm.shape[1], S.shape[1]
    H = y.shape[1] // V
    x, k, q = np.zeros(C, z.dtype), np.zeros(K, z.dtype), np.zeros(K, z.dtype)
    v, said, read = np.zeros(V, z.dtype), np.zeros(V, z.dtype), np.zeros(V, z.dtype)
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
            x[c] = conv[W - 1, c] * z[b, c]
        for i in range(W - 1):
            for c in range(C):
                x[c] += conv[i, c] * window[old + i, c]
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
            both = _read(S, (b * H + h) * V, k, q, said, read)
            total = z.dtype.type(0)
            for i in range(V):
                v[i] = beta * (v[i] - a * said[i])
                read[i] = a * read[i] + v[i] * both  # (a S + w k^T) q
                total += read[i] * read[i]
            _write(S, (b * H + h) * V, a, v, k)
            r = one / np.sqrt(total / z.dtype.type(V) + eps)
            for i in range(V):
                gate = z[b, C + 2 * H + h * V + i]
                y[b, h * V + i] = read[i] * r * norm[0, i] * gate * _sigmoid(gate)


@jit
def _read(S: Array, base: int, k: Array, q: Array, said: Array, read: Array) -> Any:
    """Write S k and S q, and return k^T q."""
    for i in range(said.size):
        u, p = k.dtype.type(0), k.dtype.type(0)
        for j in range(k.size):
            u += S[base + i, j] * k[j]
            p += S[base + i, j] * q[j]
        said[i], read[i] = u, p
    both = k.dtype.type(0)
    for j in range(k.size):
        both += k[j] * q[j]
    return both


@jit
def _write(S: Array, base: int, a: Any, w: Array, k: Array) -> None:
    """S <- a S + w k^T."""
    for i in range(w.size):
        wi = w[i]
        for j in range(k.size):
            S[base + i, j] = a * S[base + i, j] + wi * k[j]


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
