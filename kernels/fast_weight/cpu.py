r"""The fast-weight recurrence as a compiled loop that keeps the matrix in cache; arguments as in `reference.py`.

Notation, for one step and head (a = exp(decay)):

    S1 = a * S0,  u = S1 r,  S2 = S1 - u c^T + v k^T,  y = S2 q

Gradients, last step first; D is the gradient of S2 that came from later steps:

    D  <- D + dy q^T         dq = S2^T dy
    dv  = D k                dk = D^T v              with c = k:  dk = D^T (v - u)
    du  = -D c               dc = -D^T u                          du = -dv
    D  <- D + du r^T         dr = S1^T du
    D  <- a * D              da = columns of (D before) * S0

The forward pass keeps u, and S every `CHECKPOINT` steps; the backward pass forms the states between again.
Forward walks along the rows of S [V, K]; backward holds S and D as [K, V], where most of its sums need no shuffling.
"""

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from lifelong.kernels.compiled import CHECKPOINT, Array, Arrays, arrays_of, jit, jit_parallel, spread

__all__ = ["fast_weight"]


def fast_weight(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    decay: Tensor | None = None,
    erase: Tensor | None = None,
    erase_key: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Do what `reference.fast_weight` does in one compiled loop; float32 or float64, differentiable once."""
    inputs = (q, k, v, state, start, decay, erase, erase_key)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        y, end = _FastWeight.apply(*inputs)
    else:
        y, end, _ = _run(*inputs, save=False)
    return y, end


class _FastWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        y, end, saved = _run(*inputs, save=True)
        ctx.save_for_backward(*saved)
        ctx.decay_shape = None if inputs[5] is None else inputs[5].shape
        return y, end

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, kept, r, c, start, said, marks = ctx.saved_tensors
        B, T, H, K = q.shape
        dq, dk, dv, dkept, dr, dc = (None if x is None else torch.empty_like(x) for x in (q, k, v, kept, r, c))
        dstate = dend.clone(memory_format=torch.contiguous_format)
        arrays = arrays_of(
            q.dtype, q, k, v, kept, r, c, start, said, marks, dy.contiguous(), dq, dk, dv, dkept, dr, dc, dstate
        )
        spread(_backward, _backward_parallel, B * H, 4 * T * K * v.shape[-1], arrays)
        ddecay = None if dkept is None else dkept.mul_(kept).view(ctx.decay_shape)
        return dq, dk, dv, dstate, None, ddecay, dr, dc


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    start: Tensor,
    decay: Tensor | None,
    erase: Tensor | None,
    erase_key: Tensor | None,
    *,
    save: bool,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """Run forward; return y, the last state and, if `save`, what the backward pass needs."""
    B, T, H, K = q.shape
    V = v.shape[-1]
    q, k, v, state, start = (x.detach().contiguous() for x in (q, k, v, state, start))
    kept = None if decay is None else decay.detach().exp().contiguous().view(B, T, H, -1)
    r, c = (None if x is None else x.detach().contiguous() for x in (erase, erase_key))
    y, end = torch.empty_like(v), torch.empty_like(state)
    said = torch.empty_like(v) if save and r is not None else None
    marks = state.new_empty((-(-T // CHECKPOINT) * B, H, V, K)) if save else None
    arrays = arrays_of(q.dtype, q, k, v, kept, r, c, start, state, y, end, said, marks)
    spread(_forward, _forward_parallel, B * H, T * K * V, arrays)
    return y, end, (q, k, v, kept, r, c, start, said, marks) if save else ()


@jit_parallel
def _forward_parallel(threads: int, heads: int, arrays: Arrays) -> None:
    for n in prange(threads):
        _forward(n * heads // threads, (n + 1) * heads // threads, arrays)


@jit_parallel
def _backward_parallel(threads: int, heads: int, arrays: Arrays) -> None:
    for n in prange(threads):
        _backward(n * heads // threads, (n + 1) * heads // threads, arrays)


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`."""
    q, k, v, kept, r, c, start, state, y, end, said, marks = arrays
    B, T, H, K = q.shape
    V = v.shape[3]
    a, ar, one = np.ones(K, q.dtype), np.ones(K, q.dtype), np.ones(K, q.dtype)
    u_here, w = np.zeros(V, q.dtype), np.zeros(V, q.dtype)
    for head in range(first, last):
        b, h = head // H, head % H
        S = end[b, h]
        _copy(S, state[b, h])
        for t in range(T):
            if marks.size and t % CHECKPOINT == 0:
                _copy(marks[t // CHECKPOINT * B + b, h], S)
            if start[b, t]:
                _clear(S)
            if kept.size:
                _fill(a, kept[b, t, h])
            if r.size == 0:
                _write(S, a, v[b, t, h], k[b, t, h], q[b, t, h], y[b, t, h])
                continue
            u = said[b, t, h] if said.size else u_here
            for j in range(K):
                ar[j] = a[j] * r[b, t, h, j]
            _read(S, ar, u)
            if c.size == 0:
                for i in range(V):
                    w[i] = v[b, t, h, i] - u[i]
                _write(S, a, w, k[b, t, h], q[b, t, h], y[b, t, h])
            else:
                for i in range(V):
                    w[i] = -u[i]
                _write(S, a, w, c[b, t, h], q[b, t, h], y[b, t, h])
                _write(S, one, v[b, t, h], k[b, t, h], q[b, t, h], y[b, t, h])


@jit
def _copy(to: Array, source: Array) -> None:
    for i in range(to.shape[0]):
        for j in range(to.shape[1]):
            to[i, j] = source[i, j]


@jit
def _transpose(to: Array, source: Array) -> None:
    for i in range(to.shape[0]):
        for j in range(to.shape[1]):
            to[i, j] = source[j, i]


@jit
def _clear(S: Array) -> None:
    for i in range(S.shape[0]):
        for j in range(S.shape[1]):
            S[i, j] = 0


@jit
def _fill(a: Array, kept: Array) -> None:
    """Write one factor per head, or one per key channel, into a [K]."""
    if kept.size == a.size:
        a[:] = kept
    else:
        a[:] = kept[0]


@jit
def _read(S: Array, r: Array, u: Array) -> None:
    """u = S r."""
    V, K = S.shape
    for i in range(V):
        total = r.dtype.type(0)
        for j in range(K):
            total += S[i, j] * r[j]
        u[i] = total


@jit
def _write(S: Array, a: Array, w: Array, k: Array, q: Array, y: Array) -> None:
    """S <- a * S + w k^T;  y = S q."""
    V, K = S.shape
    for i in range(V):
        total, wi = q.dtype.type(0), w[i]
        for j in range(K):
            new = S[i, j] * a[j] + wi * k[j]
            S[i, j] = new
            total += new * q[j]
        y[i] = total


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; `dstate` comes as the gradient of the last state."""
    q, k, v, kept, r, c, start, said, marks, dy, dq, dk, dv, dkept, dr, dc, dstate = arrays
    B, T, H, K = q.shape
    V = v.shape[3]
    a, da = np.ones(K, q.dtype), np.zeros(K, q.dtype)
    r_here, dr_here = np.zeros(K, q.dtype), np.zeros(K, q.dtype)
    w, du = np.zeros(V, q.dtype), np.zeros(V, q.dtype)
    D, empty = np.zeros((K, V), q.dtype), np.zeros((K, V), q.dtype)
    S = np.zeros((CHECKPOINT + 1, K, V), q.dtype)  # before and after each step since the checkpoint
    for head in range(first, last):
        b, h = head // H, head % H
        _transpose(D, dstate[b, h])
        for n in range((T - 1) // CHECKPOINT, -1, -1):
            t0, t1 = n * CHECKPOINT, min(T, (n + 1) * CHECKPOINT)
            _transpose(S[0], marks[n * B + b, h])
            for t in range(t0, t1):
                if kept.size:
                    _fill(a, kept[b, t, h])
                S0 = empty if start[b, t] else S[t - t0]
                _written(w, v[b, t, h], said, c, b, t, h)
                _form(S[t - t0 + 1], S0, a, w, k[b, t, h])
                if c.size:
                    _take(S[t - t0 + 1], said[b, t, h], c[b, t, h])
            for t in range(t1 - 1, t0 - 1, -1):
                _written(w, v[b, t, h], said, c, b, t, h)
                _undo_write(D, S[t - t0 + 1], dy[b, t, h], w, q[b, t, h], k[b, t, h], dv[b, t, h], dq[b, t, h], dk[b, t, h])
                if c.size:
                    _undo_take(D, said[b, t, h], c[b, t, h], du, dc[b, t, h])
                elif r.size:
                    for i in range(V):
                        du[i] = -dv[b, t, h, i]
                if kept.size:
                    _fill(a, kept[b, t, h])
                S0 = empty if start[b, t] else S[t - t0]
                if r.size:
                    _undo_decay(D, S0, du, a, r[b, t, h], da, dr[b, t, h])
                elif kept.size:
                    _undo_decay(D, S0, du, a, r_here, da, dr_here)
                if kept.size:
                    _gather(dkept[b, t, h], da)
                if start[b, t]:
                    _clear(D)
        _transpose(dstate[b, h], D)


@jit
def _written(w: Array, v: Array, said: Array, c: Array, b: int, t: int, h: int) -> None:
    """Write what is written at k into w [V]: v, less what was said where k itself is erased."""
    if said.size and c.size == 0:
        for i in range(w.size):
            w[i] = v[i] - said[b, t, h, i]
    else:
        w[:] = v


@jit
def _gather(dkept: Array, da: Array) -> None:
    """Do the reverse of `_fill`."""
    if dkept.size == da.size:
        dkept[:] = da
    else:
        dkept[0] = da.sum()


@jit
def _form(S2: Array, S0: Array, a: Array, w: Array, k: Array) -> None:
    """S2 = a * S0 + k w^T, [K, V]."""
    K, V = S0.shape
    for j in range(K):
        aj, kj = a[j], k[j]
        for i in range(V):
            S2[j, i] = aj * S0[j, i] + kj * w[i]


@jit
def _take(S: Array, u: Array, c: Array) -> None:
    """S <- S - c u^T, [K, V]."""
    K, V = S.shape
    for j in range(K):
        cj = c[j]
        for i in range(V):
            S[j, i] -= cj * u[i]


@jit
def _undo_write(D: Array, S: Array, dy: Array, w: Array, q: Array, k: Array, dw: Array, dq: Array, dk: Array) -> None:
    """D <- D + q dy^T;  dq = S dy, dk = D w, dw = D^T k."""
    K, V = D.shape
    dw[:] = 0
    for j in range(K):
        qj, kj = q[j], k[j]
        dqj = dkj = q.dtype.type(0)
        for i in range(V):
            d = D[j, i] + qj * dy[i]
            D[j, i] = d
            dw[i] += d * kj
            dqj += S[j, i] * dy[i]
            dkj += d * w[i]
        dq[j], dk[j] = dqj, dkj


@jit
def _undo_take(D: Array, u: Array, c: Array, du: Array, dc: Array) -> None:
    """du = -D^T c, dc = -D u."""
    K, V = D.shape
    du[:] = 0
    for j in range(K):
        cj = c[j]
        dcj = c.dtype.type(0)
        for i in range(V):
            du[i] -= D[j, i] * cj
            dcj -= D[j, i] * u[i]
        dc[j] = dcj


@jit
def _undo_decay(D: Array, S0: Array, du: Array, a: Array, r: Array, da: Array, dr: Array) -> None:
    """D <- D + r du^T;  da = sum of D * S0, dr = (a * S0) du;  D <- a * D."""
    K, V = D.shape
    for j in range(K):
        aj, rj = a[j], r[j]
        daj = drj = a.dtype.type(0)
        for i in range(V):
            d = D[j, i] + rj * du[i]
            D[j, i] = aj * d
            daj += d * S0[j, i]
            drj += S0[j, i] * du[i]
        da[j], dr[j] = daj, aj * drj
