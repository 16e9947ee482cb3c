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
from torch import Tensor
from torch.autograd.function import once_differentiable

from lifelong.kernels.compiled import Array, Arrays, jit, rows, spread

__all__ = ["fast_weight"]

CHECKPOINT = 16  # steps between the states kept for the backward pass


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
        y, end = _FastWeight.apply(*inputs)  # type: ignore[no-untyped-call]
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
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        q, k, v, kept, r, c, start, said, marks = ctx.saved_tensors
        B, T, H, K = q.shape
        dq, dk, dv, dkept, dr, dc = (None if x is None else torch.empty_like(x) for x in (q, k, v, kept, r, c))
        dstate = dend.clone(memory_format=torch.contiguous_format)
        arrays = rows(
            q.dtype, q, k, v, kept, r, c, start, said, marks, dy.contiguous(), dq, dk, dv, dkept, dr, dc, dstate
        )
        spread(_backward, B * H, 4 * T * K * v.shape[-1], arrays)
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
    q, k, v, start = (x.detach().contiguous() for x in (q, k, v, start))
    kept = None if decay is None else decay.detach().exp().contiguous().view(B, T, H, -1)
    r, c = (None if x is None else x.detach().contiguous() for x in (erase, erase_key))
    y, end = torch.empty_like(v), state.detach().clone(memory_format=torch.contiguous_format)
    said = torch.empty_like(v) if save and r is not None else None
    marks = end.new_empty((-(-T // CHECKPOINT), B, H, V, K)) if save else None
    arrays = rows(q.dtype, q, k, v, kept, r, c, start, y, end, said, marks)
    spread(_forward, B * H, T * K * V, arrays)
    return y, end, (q, k, v, kept, r, c, start, said, marks) if save else ()


# Below, all arrays are rows of their last axis: row (b T + t) H + h is step t of head h of life b.


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; `S` comes as the states before the first step."""
    q, k, v, kept, r, c, start, y, S, said, marks = arrays
    B, T = start.shape
    H, K, V = q.shape[0] // (B * T), q.shape[1], v.shape[1]
    a, ar, one = np.zeros(K, q.dtype), np.zeros(K, q.dtype), np.zeros(K, q.dtype)
    u, w = np.zeros(V, q.dtype), np.zeros(V, q.dtype)
    _fill(a, 1)
    _fill(one, 1)
    for head in range(first, last):
        b, h, base = head // H, head % H, head * V
        for t in range(T):
            row = (b * T + t) * H + h
            if marks.size and t % CHECKPOINT == 0:
                _copy(marks, (t // CHECKPOINT * B * H + head) * V, S, base, V)
            if start[b, t]:
                _clear(S, base, V)
            if kept.size:
                _keep(a, kept, row)
            if r.size:
                for j in range(K):
                    ar[j] = a[j] * r[row, j]
                _read(S, base, ar, u)
                if said.size:
                    for i in range(V):
                        said[row, i] = u[i]
            if c.size:
                for i in range(V):
                    w[i] = -u[i]
                _write(S, base, a, w, row, c, q, y)
                for i in range(V):
                    w[i] = v[row, i]
                _write(S, base, one, w, row, k, q, y)
            else:
                for i in range(V):
                    w[i] = v[row, i] - u[i]
                _write(S, base, a, w, row, k, q, y)


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; `dstate` comes as the gradient of the last state."""
    q, k, v, kept, r, c, start, said, marks, dy, dq, dk, dv, dkept, dr, dc, dstate = arrays
    B, T = start.shape
    H, K, V = q.shape[0] // (B * T), q.shape[1], v.shape[1]
    a, da, r_t, dr_t = np.zeros(K, q.dtype), np.zeros(K, q.dtype), np.zeros(K, q.dtype), np.zeros(K, q.dtype)
    w, du = np.zeros(V, q.dtype), np.zeros(V, q.dtype)
    D, empty = np.zeros((K, V), q.dtype), np.zeros((K, V), q.dtype)
    S = np.zeros((CHECKPOINT + 1, K, V), q.dtype)  # before and after each step since the checkpoint
    sink = np.zeros(1, q.dtype)
    _fill(a, 1)
    for head in range(first, last):
        b, h = head // H, head % H
        _transpose(D, dstate[head * V : (head + 1) * V])
        for n in range((T - 1) // CHECKPOINT, -1, -1):
            t0, t1 = n * CHECKPOINT, min(T, (n + 1) * CHECKPOINT)
            sink[0] = _warm(
                (b * T + t0) * H + h, (b * T + t1) * H + h, H, (q, k, v, r, c, said, dy, dq, dk, dv, dr, dc)
            )
            mark = (n * B * H + head) * V
            _transpose(S[0], marks[mark : mark + V])
            for t in range(t0, t1):
                row = (b * T + t) * H + h
                if kept.size:
                    _keep(a, kept, row)
                _written(w, v, said, c, row)
                _form(S[t - t0 + 1], empty if start[b, t] else S[t - t0], a, w, row, k)
                if c.size:
                    _take(S[t - t0 + 1], row, said, c)
            for t in range(t1 - 1, t0 - 1, -1):
                row = (b * T + t) * H + h
                _written(w, v, said, c, row)
                _undo_write(D, S[t - t0 + 1], w, row, q, k, dy, dq, dk, dv)
                if c.size:
                    _undo_take(D, du, row, said, c, dc)
                elif r.size:
                    for i in range(V):
                        du[i] = -dv[row, i]
                if kept.size:
                    _keep(a, kept, row)
                if r.size:
                    for j in range(K):
                        r_t[j] = r[row, j]
                if r.size or kept.size:
                    _undo_decay(D, empty if start[b, t] else S[t - t0], a, r_t, du, da, dr_t)
                if r.size:
                    for j in range(K):
                        dr[row, j] = dr_t[j]
                if kept.size:
                    _undo_keep(da, dkept, row)
                if start[b, t]:
                    _clear(D, 0, K)
        _transpose(dstate[head * V : (head + 1) * V], D)


@jit
def _warm(first: int, last: int, step: int, arrays: Arrays) -> float:
    """Ask for the rows of a segment at once: they lie far apart, and one by one each would be waited for."""
    sink: float = arrays[0].dtype.type(0)
    for x in arrays:
        if x.size:
            for row in range(first, last, step):
                for j in range(0, x.shape[1], 8):  # 8 numbers are at most a cache line
                    sink += x[row, j]
    return sink


@jit
def _fill(x: Array, value: float) -> None:
    for i in range(x.size):
        x[i] = value


@jit
def _clear(x: Array, base: int, count: int) -> None:
    for i in range(base, base + count):
        for j in range(x.shape[1]):
            x[i, j] = 0


@jit
def _copy(to: Array, to_base: int, source: Array, base: int, count: int) -> None:
    for i in range(count):
        for j in range(to.shape[1]):
            to[to_base + i, j] = source[base + i, j]


@jit
def _transpose(to: Array, source: Array) -> None:
    for i in range(to.shape[0]):
        for j in range(to.shape[1]):
            to[i, j] = source[j, i]


@jit
def _keep(a: Array, kept: Array, row: int) -> None:
    """Write one factor per head, or one per key channel, into a [K]."""
    if kept.shape[1] == 1:
        _fill(a, kept[row, 0])
    else:
        for j in range(a.size):
            a[j] = kept[row, j]


@jit
def _undo_keep(da: Array, dkept: Array, row: int) -> None:
    """Do the reverse of `_keep`."""
    if dkept.shape[1] == 1:
        total = da.dtype.type(0)
        for j in range(da.size):
            total += da[j]
        dkept[row, 0] = total
    else:
        for j in range(da.size):
            dkept[row, j] = da[j]


@jit
def _written(w: Array, v: Array, said: Array, c: Array, row: int) -> None:
    """Write what goes to k into w [V]: v, less what was said where k itself is erased."""
    if said.size and c.size == 0:
        for i in range(w.size):
            w[i] = v[row, i] - said[row, i]
    else:
        for i in range(w.size):
            w[i] = v[row, i]


@jit
def _read(S: Array, base: int, r: Array, u: Array) -> None:
    """Write u = S r."""
    for i in range(u.size):
        total = r.dtype.type(0)
        for j in range(r.size):
            total += S[base + i, j] * r[j]
        u[i] = total


@jit
def _write(S: Array, base: int, a: Array, w: Array, row: int, k: Array, q: Array, y: Array) -> None:
    """S <- a * S + w k^T;  y = S q."""
    for i in range(w.size):
        total, wi = q.dtype.type(0), w[i]
        for j in range(a.size):
            new = S[base + i, j] * a[j] + wi * k[row, j]
            S[base + i, j] = new
            total += new * q[row, j]
        y[row, i] = total


@jit
def _form(S2: Array, S0: Array, a: Array, w: Array, row: int, k: Array) -> None:
    """S2 = a * S0 + k w^T, [K, V]."""
    for j in range(a.size):
        aj, kj = a[j], k[row, j]
        for i in range(w.size):
            S2[j, i] = aj * S0[j, i] + kj * w[i]


@jit
def _take(S: Array, row: int, u: Array, c: Array) -> None:
    """S <- S - c u^T, [K, V]."""
    for j in range(S.shape[0]):
        cj = c[row, j]
        for i in range(S.shape[1]):
            S[j, i] -= cj * u[row, i]


@jit
def _undo_write(
    D: Array, S: Array, w: Array, row: int, q: Array, k: Array, dy: Array, dq: Array, dk: Array, dw: Array
) -> None:
    """D <- D + q dy^T;  dq = S dy, dk = D w, dw = D^T k."""
    K, V = D.shape
    for i in range(V):
        dw[row, i] = 0
    for j in range(K):
        qj, kj = q[row, j], k[row, j]
        dqj = dkj = q.dtype.type(0)
        for i in range(V):
            d = D[j, i] + qj * dy[row, i]
            D[j, i] = d
            dw[row, i] += d * kj
            dqj += S[j, i] * dy[row, i]
            dkj += d * w[i]
        dq[row, j], dk[row, j] = dqj, dkj


@jit
def _undo_take(D: Array, du: Array, row: int, u: Array, c: Array, dc: Array) -> None:
    """Write du = -D^T c, dc = -D u."""
    K, V = D.shape
    _fill(du, 0)
    for j in range(K):
        cj = c[row, j]
        dcj = c.dtype.type(0)
        for i in range(V):
            du[i] -= D[j, i] * cj
            dcj -= D[j, i] * u[row, i]
        dc[row, j] = dcj


@jit
def _undo_decay(D: Array, S0: Array, a: Array, r: Array, du: Array, da: Array, dr: Array) -> None:
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
