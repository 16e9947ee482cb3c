"""One step of the cache of the largest writes as a compiled loop without gradients; arguments as in `reference.py`.

The cache is written in place where that is allowed (see `in_place.py`).
"""

import math
from typing import Any

import numpy as np
from torch import Tensor

from lifelong.kernels.in_place import next_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["largest_writes"]

EPS = 1e-5  # as in `fused`


def largest_writes(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Tensor,
    sink: Tensor,
    keys: Tensor,
    values: Tensor,
    scores: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.largest_writes` for one step, T = 1; float32 or float64, without gradients."""
    q, k, v, score, sink, start = (z.detach().contiguous() for z in (q, k, v, score, sink, start))
    keys, values, scores, y = next_state(keys), next_state(values), next_state(scores), v.new_empty(v.shape)
    arrays = rows(q.dtype, q, k, v, score, sink, keys, values, scores, start, y)
    spread(_step, len(q), keys[0].numel() + values[0].numel(), arrays)
    return y, keys, values, scores


# Row b H + h of q, k, v, y is a head, (b w + n) H + h of the cache its slot n, and b w + n of the scores.


@jit
def _step(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`."""
    q, k, v, score, sink, keys, values, scores, start, y = arrays
    H, w = sink.shape[1], len(keys) // len(q)
    weight = np.empty(w + 2, q.dtype)  # of the slots, of the present, of the sink
    for b in range(first, last):
        if start[b, 0]:
            for n in range(b * w, (b + 1) * w):
                for h in range(H):
                    scores[n, h] = -1
                    _fill(keys, n * H + h)
                    _fill(values, n * H + h)
        for h in range(H):
            row, new = b * H + h, score[b, h]
            # write: an empty slot, or one behind the pairs when the least, of equal ones the latest, has left
            used, loser = 0, w
            least = new
            for n in range(w):
                if scores[b * w + n, h] >= 0:
                    used += 1
                    if scores[b * w + n, h] < least or (loser < w and scores[b * w + n, h] == least):
                        loser, least = n, scores[b * w + n, h]
            kept = used < w or loser < w
            if kept:
                place = used if used < w else w - 1
                if used == w:
                    for n in range(loser, w - 1):
                        scores[b * w + n, h] = scores[b * w + n + 1, h]
                        _copy(keys, (b * w + n) * H + h, keys, (b * w + n + 1) * H + h)
                        _copy(values, (b * w + n) * H + h, values, (b * w + n + 1) * H + h)
                scores[b * w + place, h] = new
                _copy(keys, (b * w + place) * H + h, k, row)
                _copy(values, (b * w + place) * H + h, v, row)
                used = place + 1
            # read
            for n in range(used):
                weight[n] = _fit(q, row, keys, (b * w + n) * H + h)
            seen = used
            if not kept:
                weight[seen] = _fit(q, row, k, row)
                seen += 1
            weight[seen] = sink[0, h]
            _softmax(weight, seen + 1)
            _fill(y, row)
            for n in range(used):
                _add(y, row, weight[n], values, (b * w + n) * H + h)
            if not kept:
                _add(y, row, weight[used], v, row)


@jit
def _fit(q: Array, i: int, keys: Array, j: int) -> Any:
    """Return q^T k / rms(k)."""
    fit, length = q.dtype.type(0), q.dtype.type(0)
    for n in range(q.shape[1]):
        fit += q[i, n] * keys[j, n]
        length += keys[j, n] * keys[j, n]
    return fit / math.sqrt(length / q.dtype.type(q.shape[1]) + q.dtype.type(EPS))


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
