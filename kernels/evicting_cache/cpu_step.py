r"""One step of a window, the evicting cache behind it, and the sums, as a compiled loop without gradients.

The step of `LoLA`, whose pass is its reference: window and cache are read at once, the oldest pair of the window enters
the cache, and the window moves on by a slot. States are written in place where that is allowed (see `in_place.py`).
"""

import math
from typing import Any

import numpy as np
from torch import Tensor

from lifelong.kernels.in_place import next_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["evicting_cache_step"]


def evicting_cache_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    features: Tensor,
    sharpness: Tensor,
    linear_bias: Tensor,
    keys: Tensor,
    values: Tensor,
    S: Tensor,
    count: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute one step of window, cache and sums; float32 or float64 on the CPU.

    Args:
        q: [B, 1, H, K] query.
        k: [B, 1, H, K] its key.
        v: [B, 1, H, V] its value.
        bias: [H, W] added to the score of a pair in the window, by its age.
        features: [H, K, K] A of phi(x) = softmax(A x, -A x).
        sharpness: [H] g.
        linear_bias: [H] m.
        keys: [B, L + W - 1, H, K] of the cache, then of the window, oldest first.
        values: [B, L + W - 1, H, V] their values.
        S: [B, H, V + 1, 2 K] the sums.
        count: [B, 1] int64, steps lived, at most W + L.
        start: [B, 1] bool, true where the step is the first of a life.

    Returns:
        y: [B, 1, H, V] what is read.
        keys, values, S, count: after the step.
    """
    given = (q, k, v, bias, features, sharpness, linear_bias, start)
    q, k, v, bias, features, sharpness, linear_bias, start = (z.detach().contiguous() for z in given)
    keys, values, S, count = (next_state(z) for z in (keys, values, S, count))
    y = v.new_empty(v.shape)
    arrays = rows(q.dtype, q, k, v, bias, features, sharpness, linear_bias, keys, values, S, count, start, y)
    spread(_step, len(q), keys[0].numel() + values[0].numel() + S[0].numel(), arrays)
    return y, keys, values, S, count


# Row b H + h of q, k, v, y is a head, (b N + n) H + h of the cache its slot n, (b H + h) (V + 1) + i of S a row of it.


@jit
def _step(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`."""
    q, k, v, bias, features, sharpness, linear_bias, keys, values, S, count, start, y = arrays
    (H, W), K, V, N = bias.shape, q.shape[1], v.shape[1], len(keys) // len(q)
    L = N - W + 1
    weight, r = np.empty(N + 2, q.dtype), np.empty(V + 1, q.dtype)
    phi = np.empty((L + 1, 2 * K), q.dtype)  # of the cache's pairs and of the one that leaves the window
    for b in range(first, last):
        if start[b, 0]:
            count[b, 0] = 0
            for row in range(b * N * H, (b + 1) * N * H):
                _fill(keys, row)
                _fill(values, row)
            for row in range(b * H * (V + 1), (b + 1) * H * (V + 1)):
                _fill(S, row)
        lived = count[b, 0] + 1
        recent, came = min(lived, W), lived - W  # the present among the recent; pairs that entered the cache so far
        cached = min(max(came, 0), L)
        for h in range(H):
            row, at, slots = b * H + h, (b * H + h) * (V + 1), b * N * H + h
            # read
            weight[0] = sharpness[0, h] * _dot(q, row, k, row) + bias[h, 0]
            for age in range(1, recent):
                weight[age] = sharpness[0, h] * _dot(q, row, keys, slots + (N - age) * H) + bias[h, age]
            for slot in range(cached):
                weight[recent + slot] = sharpness[0, h] * _dot(q, row, keys, slots + slot * H)
            seen = recent + cached
            if came > L:
                _features(phi, 0, features, h, q, row)
                for i in range(V + 1):
                    r[i] = _dot(S, at + i, phi, 0)
                weight[seen] = linear_bias[0, h] + math.log(r[V])
            _softmax(weight, seen + (1 if came > L else 0))
            _fill(y, row)
            _add(y, row, weight[0], v, row)
            for age in range(1, recent):
                _add(y, row, weight[age], values, slots + (N - age) * H)
            for slot in range(cached):
                _add(y, row, weight[recent + slot], values, slots + slot * H)
            if came > L:
                mass = r[V] if r[V] > 0 else q.dtype.type(1)
                for i in range(V):
                    y[row, i] += weight[seen] * r[i] / mass
            # the oldest pair of the window enters the cache, slot L is where it comes from
            if came >= 0:
                loser = came
                if came >= L:
                    loser, least = L, q.dtype.type(0)
                    for slot in range(L, -1, -1):
                        _features(phi, slot, features, h, keys, slots + slot * H)
                        error = _error(S, at, values, slots + slot * H, phi, slot)
                        if slot == L or error <= least:
                            loser, least = slot, error
                    for i in range(V):
                        _add(S, at + i, values[slots + loser * H, i], phi, loser)
                    _add(S, at + V, q.dtype.type(1), phi, loser)
                if loser < L:
                    _copy(keys, slots + loser * H, keys, slots + L * H)
                    _copy(values, slots + loser * H, values, slots + L * H)
            # the window moves on
            for slot in range(L, N - 1):
                _copy(keys, slots + slot * H, keys, slots + (slot + 1) * H)
                _copy(values, slots + slot * H, values, slots + (slot + 1) * H)
            _copy(keys, slots + (N - 1) * H, k, row)
            _copy(values, slots + (N - 1) * H, v, row)
        count[b, 0] = min(lived, W + L)


@jit
def _features(phi: Array, to: int, A: Array, h: int, x: Array, row: int) -> None:
    """Write softmax(A x, -A x) of a row."""
    K, largest, total = x.shape[1], x.dtype.type(0), x.dtype.type(0)
    for j in range(K):
        z = _dot(A, h * K + j, x, row)
        phi[to, j], phi[to, K + j] = z, -z
        largest = max(largest, abs(z))
    for j in range(2 * K):
        phi[to, j] = math.exp(phi[to, j] - largest)
        total += phi[to, j]
    for j in range(2 * K):
        phi[to, j] /= total


@jit
def _error(S: Array, at: int, values: Array, row: int, phi: Array, i: int) -> Any:
    """Return | S phi(k) / (z^T phi(k)) - v |^2 of a pair; an empty memory recalls 0."""
    V, error, one = values.shape[1], S.dtype.type(0), S.dtype.type(1)
    mass = _dot(S, at + V, phi, i)
    mass = mass if mass > 0 else one
    for n in range(V):
        apart = _dot(S, at + n, phi, i) / mass - values[row, n]
        error += apart * apart
    return error


@jit
def _softmax(z: Array, size: int) -> None:
    """Bring the first `size` numbers to exp(z) / sum exp(z)."""
    largest, total = z[0], z.dtype.type(0)
    for n in range(1, size):
        largest = max(largest, z[n])
    for n in range(size):
        z[n] = math.exp(z[n] - largest)
        total += z[n]
    for n in range(size):
        z[n] /= total


@jit
def _dot(x: Array, i: int, z: Array, j: int) -> Any:
    total = x.dtype.type(0)
    for n in range(x.shape[1]):
        total += x[i, n] * z[j, n]
    return total


@jit
def _add(to: Array, i: int, factor: Any, x: Array, j: int) -> None:
    for n in range(to.shape[1]):
        to[i, n] += factor * x[j, n]


@jit
def _copy(to: Array, i: int, x: Array, j: int) -> None:
    for n in range(to.shape[1]):
        to[i, n] = x[j, n]


@jit
def _fill(to: Array, i: int) -> None:
    for n in range(to.shape[1]):
        to[i, n] = 0
