r"""The evicting cache as a compiled loop; arguments as in `reference.py`.

A pass copies no pairs: of every slot it keeps which step's pair is in it; a negative number is a slot from before the
pass, or an empty one. With p the weights of slots and sums, r = S phi(q) and z its last number, gradients are, last
step first (g. is the gradient of what follows the dot, w the log of the total weight):

    g.score_s = p_s (g.y v_s - g.y y + g.w),   g.v_s += p_s g.y          and likewise of the sums, with r / z for v_s
    g.r = p g.y / z,   g.z = g.score / z - p (g.y r) / z^2
    g.S += g.r phi(q)^T,   g.phi(q) += S^T g.r
    of the pair that was added to S:   g.v += g.S phi,   g.phi += g.S^T v

The forward pass keeps S every `CHECKPOINT` steps; the backward pass makes those between again.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["evicting_cache"]

CHECKPOINT = 16  # steps between the sums kept for the backward pass
UNSEEN = -1e30  # as in `reference.py`
EMPTY = -2  # slot of no pair, and no pair added; -1: the pair from before the pass
GONE = -3  # less the number of a slot: its pair from before the pass was added


def evicting_cache(
    q: Tensor,
    phi: Tensor,
    pairs: Tensor,
    came: Tensor,
    kept: Tensor,
    S: Tensor,
    start: Tensor,
    sharpness: Tensor,
    linear_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.evicting_cache` in one compiled loop; float32 or float64, differentiable once."""
    inputs = (q, phi, pairs, came, kept, S, start, sharpness, linear_bias)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        made: tuple[Tensor, Tensor, Tensor, Tensor] = _EvictingCache.apply(*inputs)  # type: ignore[no-untyped-call]
        return made
    return _run(*inputs, save=False)[0]


class _EvictingCache(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs, saved = _run(*inputs, save=True)
        ctx.save_for_backward(*saved)
        return outputs

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dtotal: Tensor, dy: Tensor, dkept: Tensor, dS: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        q, phi, *parts, came, start, sharpness, linear_bias, slots, lost, marks = ctx.saved_tensors
        (B, T, H, _), dtype = q.shape, q.dtype
        dq, dphi, dS = torch.zeros_like(q), torch.zeros_like(phi), dS.clone(memory_format=torch.contiguous_format)
        dparts = [torch.zeros_like(z) for z in parts]
        dafter = [z.contiguous() for z in dkept.split([z.shape[-1] for z in parts[3:]], -1)]
        dshared = q.new_zeros(B, 2, H)  # each life sums its own
        arrays = rows(dtype, q, phi, *parts, came, start, sharpness, linear_bias, slots, lost, marks)
        arrays += rows(dtype, dtotal.contiguous(), dy.contiguous(), *dafter, dq, dphi, *dparts, dS, dshared)
        spread(_backward, B * H, 4 * T * dS[0, 0].numel(), arrays)
        dpairs, dbefore = torch.cat(dparts[:3], -1), torch.cat(dparts[3:], -1)
        dsharpness, dbias = dshared.sum(0)
        return dq, dphi, dpairs, None, dbefore, dS, None, dsharpness, dbias


def _run(*inputs: Tensor, save: bool) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """Run forward; return the outputs and what the backward pass needs."""
    q, phi, pairs, came, kept, _, start, sharpness, linear_bias = (z.detach().contiguous() for z in inputs)
    S = own_state(inputs[5]) if save else next_state(inputs[5])
    (B, T, H, K), (rows_of_S, F), L = q.shape, S.shape[-2:], kept.shape[1]
    widths = [K, rows_of_S, F]  # key; value and one; features
    parts = [z.contiguous() for of in (pairs, kept) for z in of.split(widths, -1)]
    total, y = q.new_empty(B, T, H), q.new_empty(B, T, H, rows_of_S - 1)
    slots = torch.empty(B, H, T + 1, L, dtype=torch.int64)  # before every step, and after the last
    lost = torch.empty(B, H, T, 1, dtype=torch.int64)  # the pair added to S after each step; see GONE
    marks = S.new_empty(-(-T // CHECKPOINT) if save else 0, *S.shape)
    arrays = rows(q.dtype, q, phi, *parts, came, start, sharpness, linear_bias, slots, lost, marks, S, total, y)
    spread(_forward, B * H, T * (L + 1) * S[0, 0].numel(), arrays)
    writer = slots[:, :, -1].transpose(1, 2)  # [B, L, H]
    lives, heads = torch.arange(B)[:, None, None], torch.arange(H)
    after = torch.where((writer >= 0)[..., None], pairs[lives, writer.clamp(min=0), heads], kept)
    after = after.masked_fill((writer == EMPTY)[..., None], 0.0)
    saved = (q, phi, *parts, came, start, sharpness, linear_bias, slots, lost, marks)
    return (total, y, after, S), saved if save else ()


# Row (b T + t) H + h of inputs is step t, (b L + l) H + h of the cache slot l, (b H + h) (V + 1) + i of S a row of it.


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; S comes as that before the first step."""
    (
        q, phi, keys, values, features, keys_before, values_before, features_before, came, start, sharpness,
        linear_bias, slots, lost, marks, S, total, y,
    ) = arrays  # fmt: skip
    T, H, R, L = start.shape[1], sharpness.shape[1], values.shape[1], slots.shape[1]
    weight, r = np.empty(L + 1, q.dtype), np.empty(R, q.dtype)
    for head in range(first, last):
        b, h, at = head // H, head % H, head * R
        for slot in range(L):
            slots[head * (T + 1), slot] = -1
        for t in range(T):
            row, now = (b * T + t) * H + h, head * (T + 1) + t
            if start[b, t]:
                for i in range(R):
                    _fill(S, at + i)
                for slot in range(L):
                    slots[now, slot] = EMPTY
            if marks.size and t % CHECKPOINT == 0:
                for i in range(R):
                    _copy(marks, (t // CHECKPOINT) * len(S) + at + i, S, at + i)
            _weigh(
                weight, r, row, now, b, t, h, q, phi, keys, keys_before, S, at, came, sharpness, linear_bias, slots,
            )  # fmt: skip
            total[b * T + t, h] = _normalise(weight)
            mass = r[R - 1] if r[R - 1] > 0 else q.dtype.type(1)
            for i in range(R - 1):
                y[row, i] = weight[L] * r[i] / mass
            for slot in range(L):
                writer = slots[now, slot]
                if writer >= 0:
                    _mix(y, row, weight[slot], values, (b * T + writer) * H + h)
                elif writer == -1:
                    _mix(y, row, weight[slot], values_before, (b * L + slot) * H + h)
            # evict: a free slot is taken first; the new pair is rival number L
            loser = max(came[b, t], 0)
            if came[b, t] >= L:
                loser, least = L, _error(S, at, values, features, row)
                for slot in range(L - 1, -1, -1):
                    writer = slots[now, slot]
                    if writer >= 0:
                        other = (b * T + writer) * H + h
                        error = _error(S, at, values, features, other)
                    elif writer == -1:
                        error = _error(S, at, values_before, features_before, (b * L + slot) * H + h)
                    else:
                        error = q.dtype.type(0)
                    if error <= least:
                        loser, least = slot, error
            lost[head * T + t, 0] = EMPTY
            if came[b, t] >= L:
                lost[head * T + t, 0] = t if loser == L else slots[now, loser]
                if loser < L and slots[now, loser] == -1:
                    lost[head * T + t, 0] = GONE - loser
            for slot in range(L):
                slots[now + 1, slot] = t if slot == loser else slots[now, slot]
            _add_lost(S, at, lost[head * T + t, 0], b, T, L, H, h, values, features, values_before, features_before)


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; gradients of inputs come as zeros, that of S as of the last."""
    (
        q, phi, keys, values, features, keys_before, values_before, features_before, came, start, sharpness,
        linear_bias, slots, lost, marks, dtotal, dy, dkeys_after, dvalues_after, dfeatures_after,
        dq, dphi, dkeys, dvalues, dfeatures, dkeys_before, dvalues_before, dfeatures_before, dS, dshared,
    ) = arrays  # fmt: skip
    T, H, R, L, F = start.shape[1], sharpness.shape[1], values.shape[1], slots.shape[1], phi.shape[1]
    one, zero = q.dtype.type(1), q.dtype.type(0)
    weight, r, back = np.empty(L + 1, q.dtype), np.empty(R, q.dtype), np.empty(L + 1, q.dtype)
    S, gr = np.empty(((CHECKPOINT + 1) * R, F), q.dtype), np.empty(R, q.dtype)
    for head in range(first, last):
        b, h, to = head // H, head % H, head * R
        for slot in range(L):  # the cache after the last step
            writer, at = slots[head * (T + 1) + T, slot], (b * L + slot) * H + h
            if writer >= 0:
                row = (b * T + writer) * H + h
                _mix(dkeys, row, one, dkeys_after, at)
                _mix(dvalues, row, one, dvalues_after, at)
                _mix(dfeatures, row, one, dfeatures_after, at)
            elif writer == -1:
                _mix(dkeys_before, at, one, dkeys_after, at)
                _mix(dvalues_before, at, one, dvalues_after, at)
                _mix(dfeatures_before, at, one, dfeatures_after, at)
        for piece in range((T - 1) // CHECKPOINT, -1, -1):
            t0, t1 = piece * CHECKPOINT, min(T, (piece + 1) * CHECKPOINT)
            for i in range(R):
                _copy(S, i, marks, piece * len(dS) + to + i)
            for t in range(t0, t1):
                at = (t - t0) * R
                for i in range(R):
                    if start[b, t]:
                        _fill(S, at + i)
                    _copy(S, at + R + i, S, at + i)
                _add_lost(
                    S, at + R, lost[head * T + t, 0], b, T, L, H, h, values, features, values_before, features_before,
                )  # fmt: skip
            for t in range(t1 - 1, t0 - 1, -1):
                row, now, at = (b * T + t) * H + h, head * (T + 1) + t, (t - t0) * R
                # the pair that was added to S
                gone = lost[head * T + t, 0]
                if gone >= 0:
                    other = (b * T + gone) * H + h
                    _unadd(dS, to, values, features, other, dvalues, dfeatures)
                elif gone <= GONE:
                    other = (b * L + GONE - gone) * H + h
                    _unadd(dS, to, values_before, features_before, other, dvalues_before, dfeatures_before)
                # the reading
                _weigh(
                    weight, r, row, now, b, t, h, q, phi, keys, keys_before, S, at, came, sharpness, linear_bias, slots,
                )  # fmt: skip
                _normalise(weight)
                mass = r[R - 1] if r[R - 1] > 0 else one
                along = zero
                for i in range(R - 1):
                    along += dy[row, i] * r[i] / mass
                back[L] = along
                mean = weight[L] * along
                for slot in range(L):
                    writer, back[slot] = slots[now, slot], zero
                    if writer >= 0:
                        other = (b * T + writer) * H + h
                        back[slot] = _dot(dy, row, values, other)
                        _mix(dvalues, other, weight[slot], dy, row)
                    elif writer == -1:
                        other = (b * L + slot) * H + h
                        back[slot] = _dot(dy, row, values_before, other)
                        _mix(dvalues_before, other, weight[slot], dy, row)
                    mean += weight[slot] * back[slot]
                for slot in range(L):
                    writer = slots[now, slot]
                    if slot < came[b, t] and writer >= -1:
                        by = weight[slot] * (back[slot] - mean + dtotal[b * T + t, h])
                        sharp = by * sharpness[0, h]
                        if writer >= 0:
                            other = (b * T + writer) * H + h
                            dshared[b * 2, h] += by * _dot(q, row, keys, other)
                            _mix(dq, row, sharp, keys, other)
                            _mix(dkeys, other, sharp, q, row)
                        else:
                            other = (b * L + slot) * H + h
                            dshared[b * 2, h] += by * _dot(q, row, keys_before, other)
                            _mix(dq, row, sharp, keys_before, other)
                            _mix(dkeys_before, other, sharp, q, row)
                gr[R - 1] = zero
                if came[b, t] > L:
                    by = weight[L] * (back[L] - mean + dtotal[b * T + t, h])
                    dshared[b * 2 + 1, h] += by
                    gr[R - 1] = by / r[R - 1]
                if r[R - 1] > 0:
                    gr[R - 1] -= weight[L] * along / mass
                for i in range(R):
                    if i < R - 1:
                        gr[i] = weight[L] * dy[row, i] / mass
                    _mix(dphi, row, gr[i], S, at + i)
                    _mix(dS, to + i, gr[i], phi, row)
                if start[b, t]:
                    for i in range(R):
                        _fill(dS, to + i)


@jit
def _weigh(
    weight: Array, r: Array, row: int, now: int, b: int, t: int, h: int, q: Array, phi: Array, keys: Array,
    keys_before: Array, S: Array, at: int, came: Array, sharpness: Array, linear_bias: Array, slots: Array,
) -> None:  # fmt: skip
    """Write r = S phi(q), and the scores of all slots and of the sums."""
    L, H, T, R = slots.shape[1], sharpness.shape[1], came.shape[1], len(r)
    for i in range(R):
        r[i] = _dot(S, at + i, phi, row)
    for slot in range(L):
        writer = slots[now, slot]
        if slot >= came[b, t]:
            weight[slot] = UNSEEN
        elif writer >= 0:
            weight[slot] = sharpness[0, h] * _dot(q, row, keys, (b * T + writer) * H + h)
        elif writer == -1:
            weight[slot] = sharpness[0, h] * _dot(q, row, keys_before, (b * L + slot) * H + h)
        else:
            weight[slot] = 0
    weight[L] = linear_bias[0, h] + np.log(r[R - 1]) if came[b, t] > L else weight.dtype.type(UNSEEN)


@jit
def _normalise(z: Array) -> float:
    """Bring z to exp(z) / sum exp(z); return the log of that sum."""
    largest, total = z[0], z.dtype.type(0)
    for n in range(1, len(z)):
        largest = max(largest, z[n])
    for n in range(len(z)):
        z[n] = np.exp(z[n] - largest)
        total += z[n]
    for n in range(len(z)):
        z[n] = z[n] / total if largest > UNSEEN else z[n]  # nothing is seen: the log of their number is rounded away
    log: float = largest + np.log(total)
    return log


@jit
def _error(S: Array, at: int, values: Array, features: Array, row: int) -> Any:
    """Return | S phi(k) / (z^T phi(k)) - v |^2 of a pair; an empty memory recalls 0."""
    V, error, one = values.shape[1] - 1, S.dtype.type(0), S.dtype.type(1)
    mass = _dot(S, at + V, features, row)
    mass = mass if mass > 0 else one
    for i in range(V):
        apart = _dot(S, at + i, features, row) / mass - values[row, i]
        error += apart * apart
    return error


@jit
def _add_lost(
    S: Array, at: int, gone: int, b: int, T: int, L: int, H: int, h: int, values: Array, features: Array,
    values_before: Array, features_before: Array,
) -> None:  # fmt: skip
    """Add the pair that left the cache to S."""
    for i in range(values.shape[1]):
        if gone >= 0:
            _mix(S, at + i, values[(b * T + gone) * H + h, i], features, (b * T + gone) * H + h)
        elif gone <= GONE:
            other = (b * L + GONE - gone) * H + h
            _mix(S, at + i, values_before[other, i], features_before, other)


@jit
def _unadd(
    dS: Array, at: int, values: Array, features: Array, row: int, dvalues: Array, dfeatures: Array
) -> None:  # fmt: skip
    """Undo the addition of a pair to S."""
    for i in range(values.shape[1]):
        dvalues[row, i] += _dot(dS, at + i, features, row)
        _mix(dfeatures, row, values[row, i], dS, at + i)


@jit
def _dot(x: Array, i: int, z: Array, j: int) -> Any:
    total = x.dtype.type(0)
    for n in range(x.shape[1]):
        total += x[i, n] * z[j, n]
    return total


@jit
def _mix(to: Array, i: int, factor: Any, x: Array, j: int) -> None:
    """Add a row of x, or what of it is as wide as `to`; values stand with a one behind them or without."""
    for n in range(min(to.shape[1], x.shape[1])):
        to[i, n] += factor * x[j, n]


@jit
def _copy(to: Array, i: int, x: Array, j: int) -> None:
    for n in range(to.shape[1]):
        to[i, n] = x[j, n]


@jit
def _fill(to: Array, i: int) -> None:
    for n in range(to.shape[1]):
        to[i, n] = 0
