r"""The posterior recurrence as a compiled loop that keeps both matrices in cache; arguments as in `reference.py`.

Gradients, last step first; DM and DJ are those of M and J that came from later steps, I = J + I_p, a = exp(decay):

    g  = dy q^T / I          dq = (M / I)^T dy               dI_p = -sum of g * M / I
    DM <- DM + g             dw = DM k,   dk = DM^T w
    DJ <- DJ - g * M / I     db = DJ k^2, dk = dk + 2 k * (DJ^T b)
    DM, DJ <- a DM, a DJ     da = sum of (DM before) * M_before + (DJ before) * J_before, over all or over the rows

The forward pass keeps M and J every `CHECKPOINT` steps; the backward pass recomputes those between.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["posterior"]

CHECKPOINT = 16  # steps between the states kept for the backward pass


def posterior(
    q: Tensor,
    k: Tensor,
    w: Tensor,
    b: Tensor,
    evidence: Tensor,
    importance: Tensor,
    start: Tensor,
    *,
    prior: Tensor,
    decay: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.posterior` in one compiled loop; float32 or float64, differentiable once."""
    inputs = (q, k, w, b, evidence, importance, start, prior, decay)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        y, M, J = _Posterior.apply(*inputs)  # type: ignore[no-untyped-call]
    else:
        y, M, J, _ = _run(*inputs, save=False)
    return y, M, J


class _Posterior(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        y, M, J, saved = _run(*inputs, save=True)
        ctx.save_for_backward(*saved)
        ctx.decay_shape = None if inputs[8] is None else inputs[8].shape
        return y, M, J

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dM: Tensor, dJ: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        q, k, w, b, start, prior, kept, marks = ctx.saved_tensors
        B, T, H, K = q.shape
        dq, dk, dw, db, dkept = (None if x is None else torch.empty_like(x) for x in (q, k, w, b, kept))
        DM, DJ = (x.clone(memory_format=torch.contiguous_format) for x in (dM, dJ))
        dprior = prior.new_empty((B, H))
        arrays = rows(
            q.dtype, q, k, w, b, start, prior, kept, marks, dy.contiguous(), dq, dk, dw, db, DM, DJ, dprior, dkept
        )
        spread(_backward, B * H, 6 * T * K * w.shape[-1], arrays)
        ddecay = None if dkept is None else dkept.mul_(kept).view(ctx.decay_shape)
        return dq, dk, dw, db, DM, DJ, None, dprior.sum(0), ddecay


def _run(
    q: Tensor,
    k: Tensor,
    w: Tensor,
    b: Tensor,
    evidence: Tensor,
    importance: Tensor,
    start: Tensor,
    prior: Tensor,
    decay: Tensor | None,
    *,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor | None, ...]]:
    """Run forward; return y, the last states and, if `save`, what the backward pass needs."""
    B, T, H, K = q.shape
    V = w.shape[-1]
    q, k, w, b, start, prior = (x.detach().contiguous() for x in (q, k, w, b, start, prior))
    kept = None if decay is None else decay.detach().exp().contiguous().view(B, T, H, -1)
    y = torch.empty_like(w)
    M, J = (own_state(x) if save else next_state(x) for x in (evidence, importance))
    marks = M.new_empty((2, -(-T // CHECKPOINT), B, H, V, K)) if save else None
    arrays = rows(q.dtype, q, k, w, b, start, prior, kept, y, M, J, marks)
    spread(_forward, B * H, 2 * T * K * V, arrays)
    return y, M, J, (q, k, w, b, start, prior, kept, marks) if save else ()


# Below, all arrays are rows of their last axis: row (n T + t) H + h is step t of head h of life n.


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; M and J come as they are before the first step."""
    q, k, w, b, start, prior, kept, y, M, J, marks = arrays
    B, T = start.shape
    H, K, V = q.shape[0] // (B * T), q.shape[1], w.shape[1]
    own = np.ones((1, K), q.dtype)
    for head in range(first, last):
        n, h, base = head // H, head % H, head * V
        for t in range(T):
            row = (n * T + t) * H + h
            if marks.size and t % CHECKPOINT == 0:
                mark = (t // CHECKPOINT * B * H + head) * V
                _copy(marks, mark, M, base, V)
                _copy(marks, marks.shape[0] // 2 + mark, J, base, V)
            if start[n, t]:
                _clear(M, base, V)
                _clear(J, base, V)
            a, at = _factors(kept, own, row)
            _step(M, J, base, a, at, row, w, b, k, prior[0, h], q, y)


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; DM and DJ come as the gradients of the last states."""
    q, k, w, b, start, prior, kept, marks, dy, dq, dk, dw, db, DM, DJ, dprior, dkept = arrays
    B, T = start.shape
    H, K, V = q.shape[0] // (B * T), q.shape[1], w.shape[1]
    empty = np.zeros((V, K), q.dtype)
    M = np.zeros((CHECKPOINT + 1, V, K), q.dtype)  # before and after each step since the checkpoint
    J = np.zeros((CHECKPOINT + 1, V, K), q.dtype)
    own, da, sink = np.ones((1, K), q.dtype), np.zeros((1, K), q.dtype), np.zeros(1, q.dtype)
    touched = (q, k, w, b, kept, dy, dq, dk, dw, db, dkept)
    for head in range(first, last):
        n, h, base = head // H, head % H, head * V
        dprior[n, h] = 0
        for segment in range((T - 1) // CHECKPOINT, -1, -1):
            t0, t1 = segment * CHECKPOINT, min(T, (segment + 1) * CHECKPOINT)
            mark = (segment * B * H + head) * V
            sink[0] = _warm((n * T + t0) * H + h, (n * T + t1) * H + h, H, touched)
            _copy(M[0], 0, marks, mark, V)
            _copy(J[0], 0, marks, marks.shape[0] // 2 + mark, V)
            for t in range(t0, t1):
                row = (n * T + t) * H + h
                M0, J0 = (empty, empty) if start[n, t] else (M[t - t0], J[t - t0])
                a, at = _factors(kept, own, row)
                _form(M[t - t0 + 1], J[t - t0 + 1], M0, J0, a, at, row, w, b, k)
            for t in range(t1 - 1, t0 - 1, -1):
                row = (n * T + t) * H + h
                dprior[n, h] += _undo_read(DM, DJ, base, M[t - t0 + 1], J[t - t0 + 1], prior[0, h], row, q, dy, dq)
                _undo_write(DM, DJ, base, row, w, b, k, dw, db, dk)
                if kept.size:
                    M0, J0 = (empty, empty) if start[n, t] else (M[t - t0], J[t - t0])
                    a, at = _factors(kept, own, row)
                    if kept.shape[1] == K:
                        _undo_decay(DM, DJ, base, M0, J0, a, at, dkept, row)
                    else:
                        _undo_decay(DM, DJ, base, M0, J0, a, at, da, 0)
                        dkept[row, 0] = da.sum()
                if start[n, t]:
                    _clear(DM, base, V)
                    _clear(DJ, base, V)


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


@jit
def _factors(kept: Array, own: Array, row: int) -> tuple[Array, int]:
    """Return an array and its row with a step's decay of each key channel; `own` begins as ones."""
    if kept.shape[1] == own.shape[1]:
        return kept, row
    if kept.size:
        for j in range(own.shape[1]):
            own[0, j] = kept[row, 0]
    return own, 0


@jit
def _copy(to: Array, to_base: int, source: Array, base: int, count: int) -> None:
    for i in range(count):
        for j in range(to.shape[1]):
            to[to_base + i, j] = source[base + i, j]


@jit
def _clear(x: Array, base: int, count: int) -> None:
    for i in range(base, base + count):
        for j in range(x.shape[1]):
            x[i, j] = 0


@jit
def _step(
    M: Array, J: Array, base: int, a: Array, at: int, row: int, w: Array, b: Array, k: Array, prior: float, q: Array,
    y: Array,
) -> None:  # fmt: skip
    """M <- a M + w k^T;  J <- a J + b (k^2)^T;  y = (M / (J + prior)) q."""
    for i in range(w.shape[1]):
        wi, bi, total = w[row, i], b[row, i], q.dtype.type(0)
        for j in range(k.shape[1]):
            m = a[at, j] * M[base + i, j] + wi * k[row, j]
            n = a[at, j] * J[base + i, j] + bi * (k[row, j] * k[row, j])
            M[base + i, j], J[base + i, j] = m, n
            total += m / (n + prior) * q[row, j]
        y[row, i] = total


@jit
def _form(M: Array, J: Array, M0: Array, J0: Array, a: Array, at: int, row: int, w: Array, b: Array, k: Array) -> None:
    """M = a M0 + w k^T;  J = a J0 + b (k^2)^T."""
    for i in range(w.shape[1]):
        wi, bi = w[row, i], b[row, i]
        for j in range(k.shape[1]):
            M[i, j] = a[at, j] * M0[i, j] + wi * k[row, j]
            J[i, j] = a[at, j] * J0[i, j] + bi * (k[row, j] * k[row, j])


@jit
def _undo_read(
    DM: Array, DJ: Array, base: int, M: Array, J: Array, prior: float, row: int, q: Array, dy: Array, dq: Array
) -> float:
    """Add the read's gradients to DM and DJ; write dq and return the gradient of the prior."""
    dprior: float = q.dtype.type(0)
    one = q.dtype.type(1)
    for j in range(q.shape[1]):
        dq[row, j] = 0
    for i in range(dy.shape[1]):
        dyi = dy[row, i]
        for j in range(q.shape[1]):
            inverse = one / (J[i, j] + prior)
            mean = M[i, j] * inverse
            g = dyi * q[row, j] * inverse
            DM[base + i, j] += g
            DJ[base + i, j] -= g * mean
            dprior -= g * mean
            dq[row, j] += dyi * mean
    return dprior


@jit
def _undo_write(
    DM: Array, DJ: Array, base: int, row: int, w: Array, b: Array, k: Array, dw: Array, db: Array, dk: Array
) -> None:
    """Dw = DM k, db = DJ k^2, dk = DM^T w + 2 k * (DJ^T b)."""
    for j in range(k.shape[1]):
        dk[row, j] = 0
    for i in range(w.shape[1]):
        wi, bi = w[row, i], b[row, i]
        dwi = dbi = k.dtype.type(0)
        for j in range(k.shape[1]):
            dwi += DM[base + i, j] * k[row, j]
            dbi += DJ[base + i, j] * (k[row, j] * k[row, j])
            half = k[row, j] * (DJ[base + i, j] * bi)
            dk[row, j] += DM[base + i, j] * wi + half + half
        dw[row, i], db[row, i] = dwi, dbi


@jit
def _undo_decay(DM: Array, DJ: Array, base: int, M0: Array, J0: Array, a: Array, at: int, da: Array, to: int) -> None:
    """DM, DJ <- a DM, a DJ;  da is the gradient of a, [K]."""
    for j in range(M0.shape[1]):
        da[to, j] = 0
    for i in range(M0.shape[0]):
        for j in range(M0.shape[1]):
            da[to, j] += DM[base + i, j] * M0[i, j] + DJ[base + i, j] * J0[i, j]
            DM[base + i, j] *= a[at, j]
            DJ[base + i, j] *= a[at, j]
