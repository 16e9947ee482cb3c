r"""The fast-weight recurrence as a compiled loop that keeps the matrix in cache; arguments as in `reference.py`.

Notation, for one step and head (a = exp(decay); with a rate beta, r = k and w = beta (v - u), else w = v - u):

    S1 = a * S0,  u = S1 r,  S2 = S1 + w k^T,  y = S2 q

Gradients, last step first; D is the gradient of S2:

    D  = D' + dy q^T                    D' came from the step after
    dq = S2^T dy       dk = D^T w       dw = D k       du = -dw, or -beta dw
    dr = S1^T du       D' of the step before = a * (D + du r^T)
    dlog a = <D', S0> = <D, S2> - dw (v or beta v)     and <D, S2> = dlog a of the step after + dy y

so the gradient of a decay needs no sum over the matrix (per key channel: the same, with q dq, k dk, r dr in its stead).
Each step is one sweep over S: it writes step t and reads u of step t + 1; backward, it finishes step t + 1 and begins
step t. The forward pass keeps u, and S every `CHECKPOINT` steps; the backward pass forms the states between again.
An erase key of its own makes two steps of each: erase there, then write and read.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

from .turns import in_turns

__all__ = ["fast_weight"]

CHECKPOINT = 16  # steps between the states kept for the backward pass
LARGE = 1 << 21  # products k v of a call from which on loops are compiled for its sizes alone


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
    rate: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.fast_weight` in one compiled loop; float32 or float64, differentiable once."""
    if erase is not None and erase_key is not None:
        return in_turns(fast_weight, q, k, v, state, start, decay, erase, erase_key)
    inputs = (q, k, v, state, start, decay, erase, rate)
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
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        q, k, v, kept, r, rate, start, said, marks, y = ctx.saved_tensors
        B, T, H, K = q.shape
        dq, dk, dv, ddecay, dr, drate = (None if x is None else torch.empty_like(x) for x in (q, k, v, kept, r, rate))
        dstate = dend.clone(memory_format=torch.contiguous_format)
        arrays = rows(q.dtype, q, k, v, kept, r, rate, start, said, marks, y, dy.contiguous(), dq, dk, dv, ddecay, dr,
                      drate, dstate)  # fmt: skip
        spread(_loops(*_sizes(q, v))[1], B * H, 4 * T * K * v.shape[-1], arrays)
        ddecay = None if ddecay is None else ddecay.view(ctx.decay_shape)
        return dq, dk, dv, dstate, None, ddecay, dr, None if drate is None else drate[..., 0]


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    start: Tensor,
    decay: Tensor | None,
    erase: Tensor | None,
    rate: Tensor | None,
    *,
    save: bool,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """Run forward; return y, the last state and, if `save`, what the backward pass needs."""
    B, T, H, K = q.shape
    V = v.shape[-1]
    q, k, v, start = (x.detach().contiguous() for x in (q, k, v, start))
    kept = None if decay is None else decay.detach().exp().contiguous().view(B, T, H, -1)
    r = None if erase is None else erase.detach().contiguous()
    rate = None if rate is None else rate.detach().contiguous()[..., None]
    y, end = torch.empty_like(v), own_state(state) if save else next_state(state)
    corrected = r is not None or rate is not None
    said = torch.empty_like(v) if save and corrected else None
    marks = end.new_empty((-(-T // CHECKPOINT), B, H, V, K)) if save else None
    arrays = rows(q.dtype, q, k, v, kept, r, rate, start, y, end, said, marks)
    spread(_loops(*_sizes(q, v))[0], B * H, T * K * V, arrays)
    return y, end, (q, k, v, kept, r, rate, start, said, marks, y) if save else ()


def _sizes(q: Tensor, v: Tensor) -> tuple[int, int]:
    """Return K and V if loops of these sizes alone are worth compiling; else zeros."""
    K, V = q.shape[-1], v.shape[-1]
    return (K, V) if q.numel() * V >= LARGE and K % 16 == 0 and V % 4 == 0 else (0, 0)


@functools.cache
def _loops(K: int, V: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return the loops forward and backward, compiled for K key and V value channels, or for any (0).

    With sizes known, a sweep over a row is a few instructions instead of a loop with ends to take care of.
    """

    @jit
    def forward(first: int, last: int, arrays: Arrays) -> None:
        _forward(first, last, arrays, K or arrays[0].shape[1], V or arrays[2].shape[1])

    @jit
    def backward(first: int, last: int, arrays: Arrays) -> None:
        _backward(first, last, arrays, K or arrays[0].shape[1], V or arrays[2].shape[1])

    return forward, backward


# Below, all arrays are rows of their last axis: row (b T + t) H + h is step t of head h of life b. Functions get whole
# arrays and a row index: slicing would cost more than a sweep over the row.


@jit
def _forward(first: int, last: int, arrays: Arrays, K: int, V: int) -> None:
    """Run the heads from `first` to before `last`; `S` comes as the states before the first step."""
    q, k, v, kept, r, rate, start, y, S, said, marks = arrays
    B, T = start.shape
    H = q.shape[0] // (B * T)
    a, ar, u, w = np.ones((2, K), q.dtype), np.zeros(K, q.dtype), np.zeros(V, q.dtype), np.zeros(V, q.dtype)
    corrected, one, e = r.size + rate.size > 0, q.dtype.type(1), r if r.size else k
    for head in range(first, last):
        b, h, base = head // H, head % H, head * V
        row = b * T * H + h
        if marks.size:
            _copy(marks, head * V, S, base, V)
        if start[b, 0]:
            _clear(S, base, V)
        _prepare(a, 0, ar, kept, e, row)
        if corrected:
            _read(S, base, ar, u)
        for t in range(T):
            row, after = (b * T + t) * H + h, (b * T + t + 1) * H + h
            beta = rate[row, 0] if rate.size else one
            for i in range(V):
                w[i] = beta * (v[row, i] - u[i]) if corrected else v[row, i]
                if said.size:
                    said[row, i] = u[i]
            if t + 1 < T:
                _prepare(a, (t + 1) % 2, ar, kept, e, after)
            _step(S, base, a, t % 2, w, row, k, q, y, ar, u)
            if t + 1 < T:
                if marks.size and (t + 1) % CHECKPOINT == 0:
                    _copy(marks, ((t + 1) // CHECKPOINT * B * H + head) * V, S, base, V)
                if start[b, t + 1]:
                    _clear(S, base, V)
                    _fill(u, 0)


@jit
def _backward(first: int, last: int, arrays: Arrays, K: int, V: int) -> None:
    """Run the heads from `first` to before `last`; `dstate` comes as the gradient of the last state."""
    q, k, v, kept, r, rate, start, said, marks, y, dy, dq, dk, dv, ddecay, dr, drate, dstate = arrays
    B, T = start.shape
    H = q.shape[0] // (B * T)
    a, g, own = np.zeros(K, q.dtype), np.zeros(K, q.dtype), np.zeros(K, q.dtype)
    w, du, dw = np.zeros(V, q.dtype), np.zeros(V, q.dtype), np.zeros(V, q.dtype)
    D, S = np.zeros((V, K), q.dtype), np.zeros(((CHECKPOINT + 1) * V, K), q.dtype)
    flow = np.zeros(ddecay.shape[1], np.float64)  # dlog a of the step after, or of this one as it is known
    nothing, no_dy = np.zeros((1, K), q.dtype), np.zeros((1, V), q.dtype)
    no_dq, no_dk = np.zeros((1, K), q.dtype), np.zeros((1, K), q.dtype)
    sink = np.zeros(1, q.dtype)
    corrected, e = said.size > 0, r if r.size else k
    for head in range(first, last):
        b, h = head // H, head % H
        _copy(D, 0, dstate, head * V, V)
        _fill(a, 1)
        _fill(du, 0)
        for n in range((T - 1) // CHECKPOINT, -1, -1):
            t0, t1 = n * CHECKPOINT, min(T, (n + 1) * CHECKPOINT)
            sink[0] = _warm((b * T + t0) * H + h, (b * T + t1) * H + h, H, (q, k, v, r, said, y, dy))
            _copy(S, 0, marks, (n * B * H + head) * V, V)
            for t in range(t0, t1):
                row = (b * T + t) * H + h
                _keep(own, kept, row)
                _written(w, v, said, rate, corrected, row)
                _form(S, (t - t0 + 1) * V, start[b, t], own, w, row, k)
            if t1 == T:
                _begin_flow(flow, D, S, (T - t0) * V)
            for t in range(t1 - 1, t0 - 1, -1):
                row = (b * T + t) * H + h
                cut = t + 1 < T and start[b, t + 1]
                if cut:
                    _clear(D, 0, V)
                    _fill(du, 0)
                _written(w, v, said, rate, corrected, row)
                after = row + H if t + 1 < T else row
                _unstep(D, S, (t - t0 + 1) * V, a, e, after, du, w, dy, q, k, row, g, dq, dk, row, dw)
                if t + 1 < T:
                    _finish(after, cut, a, e, g, corrected, dk, dr, ddecay, flow)
                _unwrite(row, dw, du, v, said, rate, corrected, dv, drate)
                _add_flow(row, start[b, t], flow, ddecay, y, dy, v, dv, q, k, dq, dk)
                _keep(a, kept, row)
        row = b * T * H + h
        if start[b, 0]:
            _clear(D, 0, V)
            _fill(du, 0)
        _fill(w, 0)
        _unstep(D, S, 0, a, e, row, du, w, no_dy, nothing, nothing, 0, g, no_dq, no_dk, 0, dw)
        if start[b, 0]:
            _clear(D, 0, V)
        _finish(row, start[b, 0], a, e, g, corrected, dk, dr, ddecay, flow)
        _copy(dstate, head * V, D, 0, V)


@jit
def _read(S: Array, base: int, r: Array, u: Array) -> None:
    """Write u = S r."""
    for i in range(u.size):
        total = r.dtype.type(0)
        for j in range(r.size):
            total += S[base + i, j] * r[j]
        u[i] = total


@jit
def _step(
    S: Array, base: int, a: Array, turn: int, w: Array, row: int, k: Array, q: Array, y: Array, r: Array, u: Array
) -> None:
    """S <- a * S + w k^T;  y = S q;  u = S r, with r as the next step reads it."""
    for i in range(w.size):
        yi, ui, wi = q.dtype.type(0), q.dtype.type(0), w[i]
        for j in range(r.size):
            new = S[base + i, j] * a[turn, j] + wi * k[row, j]
            S[base + i, j] = new
            yi += new * q[row, j]
            ui += new * r[j]
        y[row, i] = yi
        u[i] = ui


@jit
def _form(S: Array, base: int, fresh: bool, a: Array, w: Array, row: int, k: Array) -> None:
    """Write the matrix after a step from the one before it, which stands V rows above."""
    V = w.size
    for i in range(V):
        wi = w[i]
        if fresh:
            for j in range(a.size):
                S[base + i, j] = wi * k[row, j]
        else:
            for j in range(a.size):
                S[base + i, j] = S[base - V + i, j] * a[j] + wi * k[row, j]


@jit
def _unstep(
    D: Array, S: Array, base: int, a: Array, r: Array, after: int, du: Array, w: Array, dy: Array, q: Array, k: Array,
    row: int, g: Array, dq: Array, dk: Array, to: int, dw: Array
) -> None:  # fmt: skip
    """D <- a * (D + du r^T) + dy q^T;  g = S^T du of the step after, dq = S^T dy, dk = D^T w, dw = D k of this one."""
    for j in range(a.size):
        g[j] = dq[to, j] = dk[to, j] = 0
    for i in range(w.size):
        dui, dyi, dwi = du[i], dy[row, i], w.dtype.type(0)
        for j in range(a.size):
            d = a[j] * (D[i, j] + dui * r[after, j]) + dyi * q[row, j]
            D[i, j] = d
            dwi += d * k[row, j]
        dw[i] = dwi
    whole = w.size - w.size % 4  # four rows at a time: what belongs to columns is loaded once for them
    for i in range(0, whole, 4):
        i1, i2, i3 = i + 1, i + 2, i + 3
        u0, u1, u2, u3 = du[i], du[i1], du[i2], du[i3]
        y0, y1, y2, y3 = dy[row, i], dy[row, i1], dy[row, i2], dy[row, i3]
        w0, w1, w2, w3 = w[i], w[i1], w[i2], w[i3]
        for j in range(a.size):
            s0, s1, s2, s3 = S[base + i, j], S[base + i1, j], S[base + i2, j], S[base + i3, j]
            g[j] += u0 * s0 + u1 * s1 + u2 * s2 + u3 * s3
            dq[to, j] += y0 * s0 + y1 * s1 + y2 * s2 + y3 * s3
            dk[to, j] += w0 * D[i, j] + w1 * D[i1, j] + w2 * D[i2, j] + w3 * D[i3, j]
    for i in range(whole, w.size):
        for j in range(a.size):
            g[j] += du[i] * S[base + i, j]
            dq[to, j] += dy[row, i] * S[base + i, j]
            dk[to, j] += w[i] * D[i, j]


@jit
def _finish(
    row: int,
    cut: bool,
    a: Array,
    r: Array,
    g: Array,
    corrected: bool,
    dk: Array,
    dr: Array,
    ddecay: Array,
    flow: Array,
) -> None:
    """Write the remaining gradients of step `row`: of its erase row, and of a decay per key channel."""
    if corrected:
        for j in range(g.size):
            g[j] = 0 if cut else a[j] * g[j]
            if dr.size:
                dr[row, j] = g[j]
            else:
                dk[row, j] += g[j]
    if flow.size > 1:
        for j in range(flow.size):
            flow[j] = 0 if cut else flow[j] + r[row, j] * g[j]
            ddecay[row, j] = flow[j]
    elif cut:
        _fill(flow, 0)


@jit
def _begin_flow(flow: Array, D: Array, S: Array, base: int) -> None:
    """Write <D, S>, of all or per key channel."""
    _fill(flow, 0)
    if flow.size == 1:
        for i in range(D.shape[0]):
            total = D.dtype.type(0)
            for j in range(D.shape[1]):
                total += D[i, j] * S[base + i, j]
            flow[0] += total
    elif flow.size > 1:
        for i in range(D.shape[0]):
            for j in range(flow.size):
                flow[j] += D[i, j] * S[base + i, j]


@jit
def _add_flow(
    row: int,
    fresh: bool,
    flow: Array,
    ddecay: Array,
    y: Array,
    dy: Array,
    v: Array,
    dv: Array,
    q: Array,
    k: Array,
    dq: Array,
    dk: Array,
) -> None:
    """Update dlog a from the step after to this one; per key channel all but r dr."""
    if flow.size == 1:
        total = y.dtype.type(0)
        for i in range(y.shape[1]):
            total += dy[row, i] * y[row, i] - dv[row, i] * v[row, i]
        flow[0] += total
        ddecay[row, 0] = 0 if fresh else flow[0]
    else:
        for j in range(flow.size):
            flow[j] += q[row, j] * dq[row, j] - k[row, j] * dk[row, j]


@jit
def _unwrite(
    row: int, dw: Array, du: Array, v: Array, said: Array, rate: Array, corrected: bool, dv: Array, drate: Array
) -> None:
    """Write dv, du and the gradient of the rate from dw."""
    beta = rate[row, 0] if rate.size else dw.dtype.type(1)
    total = dw.dtype.type(0)
    for i in range(dw.size):
        dv[row, i] = beta * dw[i]
        if corrected:
            du[i] = -beta * dw[i]
            total += dw[i] * (v[row, i] - said[row, i])
    if drate.size:
        drate[row, 0] = total


@jit
def _written(w: Array, v: Array, said: Array, rate: Array, corrected: bool, row: int) -> None:
    """Write the value written at the key: v, or beta (v - u)."""
    beta = rate[row, 0] if rate.size else w.dtype.type(1)
    for i in range(w.size):
        w[i] = beta * (v[row, i] - said[row, i]) if corrected else v[row, i]


@jit
def _prepare(a: Array, turn: int, ar: Array, kept: Array, r: Array, row: int) -> None:
    """Write the factors of a step, [K], into row `turn` of a, and a * r."""
    if kept.size == 0:
        for j in range(ar.size):
            ar[j] = r[row, j]
    elif kept.shape[1] == 1:
        factor = kept[row, 0]
        for j in range(ar.size):
            a[turn, j] = factor
            ar[j] = factor * r[row, j]
    else:
        for j in range(ar.size):
            a[turn, j] = kept[row, j]
            ar[j] = kept[row, j] * r[row, j]


@jit
def _keep(a: Array, kept: Array, row: int) -> None:
    """Write one factor per head, or one per key channel, or 1, into a [K]."""
    if kept.size == 0:
        _fill(a, 1)
    elif kept.shape[1] == 1:
        _fill(a, kept[row, 0])
    else:
        _row(a, kept, row)


@jit
def _row(to: Array, source: Array, row: int) -> None:
    for j in range(to.size):
        to[j] = source[row, j]


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
def _warm(first: int, last: int, step: int, arrays: Arrays) -> float:
    """Prefetch the rows of a segment, which are far apart in memory."""
    sink: float = arrays[0].dtype.type(0)
    for x in arrays:
        if x.size:
            for row in range(first, last, step):
                for j in range(0, x.shape[1], 8):  # 8 numbers are at most a cache line
                    sink += x[row, j]
    return sink
