r"""Attention over a cache of heavy hitters as a compiled loop; arguments as in `reference.py`.

A pass copies no cache: of every slot it keeps which step wrote it, and reads key and value there; a negative number is
a slot from before the pass. The forward pass keeps writer, age and weight of every slot at every step, and with p the
weights, g. the gradient of what follows the dot,

    g.p_s = g.y v_s,   g.score_s = p_s (g.p_s - sum_j p_j g.p_j),   g.v_s += p_s g.y
    g.q += g.score_s k_s,   g.k_s += g.score_s q,   g.b[age_s] += g.score_s
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["heavy_hitter"]

UNIT = 4096  # as in `reference.py`


def heavy_hitter(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    keys: Tensor,
    values: Tensor,
    score: Tensor,
    age: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.heavy_hitter` in one compiled loop; float32 or float64, differentiable once."""
    inputs = (q, k, v, bias, keys, values, score, age, start)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        made: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = _HeavyHitter.apply(*inputs)  # type: ignore[no-untyped-call]
        return made
    return _run(*inputs, save=False)[0]


class _HeavyHitter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs, kept = _run(*inputs, save=True)
        ctx.save_for_backward(*kept)
        ctx.mark_non_differentiable(*outputs[3:])
        return outputs

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dkeys: Tensor, dvalues: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        q, k, v, bias, keys, values, start, *kept = ctx.saved_tensors
        dq, dk, dv = (torch.zeros_like(z) for z in (q, k, v))
        dbias = bias.new_zeros(len(q), *bias.shape)  # each life sums its own
        dbefore, dvalues_before = torch.zeros_like(keys), torch.zeros_like(values)
        arrays = rows(q.dtype, q, k, v, bias, keys, values, start, *kept, dy.contiguous(), dkeys.contiguous())
        arrays += rows(q.dtype, dvalues.contiguous(), dq, dk, dv, dbias, dbefore, dvalues_before)
        spread(_backward, q.shape[0] * q.shape[2], 2 * start.shape[1] * keys[0, :, 0].numel(), arrays)
        return dq, dk, dv, dbias.sum(0), dbefore, dvalues_before, None, None, None


def _run(*inputs: Tensor, save: bool) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """Run forward; return the outputs and what the backward pass needs."""
    q, k, v, bias, keys, values, _, _, start = (z.detach().contiguous() for z in inputs)
    (B, T, H, _), W = q.shape, keys.shape[1]
    own = own_state if save else next_state
    after_keys, after_values, score, age = (own(z) for z in inputs[4:8])
    y, steps = v.new_empty(v.shape), T if save else 1
    weight = q.new_empty(B, steps, H, W)
    writers, ages = (torch.empty(B, steps, H, W, dtype=torch.int64) for _ in range(2))
    last = torch.empty(B, 1, H, W, dtype=torch.int64)
    arrays = rows(q.dtype, q, k, v, bias, after_keys, after_values, score, age, start, weight, writers, ages, last, y)
    spread(_forward, B * H, T * W * (q.shape[3] + v.shape[3]), arrays)
    kept = (q, k, v, bias, keys, values, start, weight, writers, ages, last)
    return (y, after_keys, after_values, score, age), kept if save else ()


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; states come as those before the first step."""
    q, k, v, bias, keys, values, score, age, start, weight, writers, ages, ends, y = arrays
    T, (H, R), W, steps = start.shape[1], bias.shape, weight.shape[1], len(weight) // len(ends)
    R -= 1
    for head in range(first, last):
        b, h = head // H, head % H
        for w in range(W):
            ends[head, w] = -1
        for t in range(T):
            row, kept = (b * T + t) * H + h, (b * steps + (t if steps == T else 0)) * H + h
            if start[b, t]:
                for w in range(W):
                    ends[head, w] = -1
                    score[b * W + w, h], age[b * W + w, h] = 0, -1
                    _fill(keys, (b * W + w) * H + h)
                    _fill(values, (b * W + w) * H + h)
            # evict
            new, least = 0, np.iinfo(np.int64).max
            for w in range(W):
                old = age[b * W + w, h]
                rank = -1 if old < 0 else score[b * W + w, h]
                if not 0 <= old < R and rank < least:
                    new, least = w, rank
            # write
            for w in range(W):
                if age[b * W + w, h] >= 0:
                    age[b * W + w, h] = min(age[b * W + w, h] + 1, R)
            age[b * W + new, h], score[b * W + new, h], ends[head, new] = 0, 0, t
            # read
            for w in range(W):
                old, writer = age[b * W + w, h], ends[head, w]
                ages[kept, w], writers[kept, w] = old, writer
                if old < 0:
                    weight[kept, w] = -math.inf
                elif writer < 0:
                    weight[kept, w] = _dot(q, row, keys, (b * W + w) * H + h) + bias[h, old]
                else:
                    weight[kept, w] = _dot(q, row, k, (b * T + writer) * H + h) + bias[h, old]
            _softmax(weight, kept)
            _fill(y, row)
            for w in range(W):
                p, writer = weight[kept, w], ends[head, w]
                if age[b * W + w, h] >= 0:
                    score[b * W + w, h] += np.int64(np.rint(p * UNIT))
                    if writer < 0:
                        _add(y, row, p, values, (b * W + w) * H + h)
                    else:
                        _add(y, row, p, v, (b * T + writer) * H + h)
        for w in range(W):
            writer = ends[head, w]
            if writer >= 0:
                _copy(keys, (b * W + w) * H + h, k, (b * T + writer) * H + h)
                _copy(values, (b * W + w) * H + h, v, (b * T + writer) * H + h)


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; gradients of inputs come as zeros."""
    (
        q, k, v, bias, keys, values, start, weight, writers, ages, ends, dy, dkeys, dvalues,
        dq, dk, dv, dbias, dbefore, dvalues_before,
    ) = arrays  # fmt: skip
    T, H, W = start.shape[1], bias.shape[0], weight.shape[1]
    back = np.empty(W, q.dtype)
    for head in range(first, last):
        b, h, lived = head // H, head % H, False
        for t in range(T):
            row, total = (b * T + t) * H + h, q.dtype.type(0)
            lived = lived or start[b, t]
            for w in range(W):
                if ages[row, w] >= 0:
                    writer = writers[row, w]
                    if writer < 0:
                        back[w] = _dot(dy, row, values, (b * W + w) * H + h)
                        _add(dvalues_before, (b * W + w) * H + h, weight[row, w], dy, row)
                    else:
                        back[w] = _dot(dy, row, v, (b * T + writer) * H + h)
                        _add(dv, (b * T + writer) * H + h, weight[row, w], dy, row)
                    total += weight[row, w] * back[w]
            for w in range(W):
                if ages[row, w] >= 0:
                    by, writer = weight[row, w] * (back[w] - total), writers[row, w]
                    dbias[b * H + h, ages[row, w]] += by
                    if writer < 0:
                        _add(dq, row, by, keys, (b * W + w) * H + h)
                        _add(dbefore, (b * W + w) * H + h, by, q, row)
                    else:
                        _add(dq, row, by, k, (b * T + writer) * H + h)
                        _add(dk, (b * T + writer) * H + h, by, q, row)
        # the cache after the last step; one that a start emptied has nothing from before the pass
        for w in range(W):
            at, writer = (b * W + w) * H + h, ends[head, w]
            if writer >= 0:
                _add(dk, (b * T + writer) * H + h, q.dtype.type(1), dkeys, at)
                _add(dv, (b * T + writer) * H + h, q.dtype.type(1), dvalues, at)
            elif not lived:
                _add(dbefore, at, q.dtype.type(1), dkeys, at)
                _add(dvalues_before, at, q.dtype.type(1), dvalues, at)


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


@jit
def _softmax(z: Array, row: int) -> None:
    """Bring a row to exp(z) / sum exp(z)."""
    largest, total = z[row, 0], z.dtype.type(0)
    for n in range(1, z.shape[1]):
        largest = max(largest, z[row, n])
    for n in range(z.shape[1]):
        z[row, n] = math.exp(z[row, n] - largest)
        total += z[row, n]
    for n in range(z.shape[1]):
        z[row, n] /= total
