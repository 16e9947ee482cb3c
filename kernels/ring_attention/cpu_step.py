"""One step of attention over a ring as a compiled loop without gradients; arguments as in `reference.py`.

Of the cache only rows in use are read, and one row is written: in place where that is allowed (see `in_place.py`).
"""

import math
from typing import Any

import numpy as np
from torch import Tensor

from lifelong.kernels.in_place import next_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

from .reference import Others

__all__ = ["ring_attention"]


def ring_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    keys: Tensor,
    values: Tensor,
    count: Tensor,
    start: Tensor,
    others: Others | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.ring_attention` for one step, T = 1; float32 or float64, without gradients."""
    q, k, v, bias, start, *entries = (z.detach().contiguous() for z in (q, k, v, bias, start, *(others or ())))
    keys, values, count, y = next_state(keys), next_state(values), next_state(count), v.new_empty(v.shape)
    scores, seen = entries or (None, None)
    arrays = rows(q.dtype, q, k, v, bias, keys, values, count, start, scores, seen, y)
    spread(_step, len(q), keys[0].numel() + values[0].numel(), arrays)
    return y, keys, values, count


@jit
def _step(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`."""
    q, k, v, bias, keys, values, count, start, scores, seen, y = arrays
    (H, W), E = bias.shape, scores.shape[1]
    N = W - 1
    weight = np.empty(W + E, q.dtype)  # of the present, of the steps before it by age, of the other entries
    for b in range(first, last):
        if start[b, 0]:
            count[b, 0] = 0
            for row in range(b * N * H, (b + 1) * N * H):
                _fill(keys, row, 0)
                _fill(values, row, 0)
        used, place = count[b, 0] % W, count[b, 0] // W
        for h in range(H):
            row = b * H + h
            weight[0] = _dot(q, row, k, row) + bias[h, 0]
            for age in range(1, used + 1):
                weight[age] = _dot(q, row, keys, (b * N + _row(place, age, N)) * H + h) + bias[h, age]
            for e in range(E):
                weight[used + 1 + e] = scores[row, e]
            _softmax(weight, used + 1 + E)
            _fill(y, row, 0)
            _add(y, row, weight[0], v, row)
            for age in range(1, used + 1):
                _add(y, row, weight[age], values, (b * N + _row(place, age, N)) * H + h)
            for e in range(E):
                _add(y, row, weight[used + 1 + e], seen, (b * E + e) * H + h)
        for h in range(H):
            _copy(keys, (b * N + place) * H + h, k, b * H + h)
            _copy(values, (b * N + place) * H + h, v, b * H + h)
        count[b, 0] = min(used + 1, N) + W * ((place + 1) % N)


@jit
def _row(place: int, age: int, size: int) -> int:
    """Return the row that was written `age` steps ago, (place - age) mod N."""
    return place - age if age <= place else place - age + size


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
def _fill(to: Array, i: int, value: float) -> None:
    for n in range(to.shape[1]):
        to[i, n] = value


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
