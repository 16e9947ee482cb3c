r"""The posterior recurrence as a compiled loop that keeps both matrices in cache; arguments as in `reference.py`.

Gradients, last step first; DM and DJ are the gradients of M and J that came from later steps, I = J + I_p, a = exp(decay):

    g  = dy q^T / I          dq = (M / I)^T dy               dI_p = -sum of g * M / I
    DM <- DM + g             dw = DM k,   dk = DM^T w
    DJ <- DJ - g * M / I     db = DJ k^2, dk = dk + 2 k * (DJ^T b)
    DM, DJ <- a DM, a DJ     da = sum of (DM before) * M_before + (DJ before) * J_before

The forward pass keeps M and J every `CHECKPOINT` steps; the backward pass forms those between again.
"""

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from lifelong.kernels.compiled import CHECKPOINT, Array, Arrays, rows, jit, jit_parallel, spread

__all__ = ["posterior"]


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
    """Do what `reference.posterior` does in one compiled loop; float32 or float64, differentiable once."""
    inputs = (q, k, w, b, evidence, importance, start, prior, decay)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        y, M, J = _Posterior.apply(*inputs)
    else:
        y, M, J, _ = _run(*inputs, save=False)
    return y, M, J


class _Posterior(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        y, M, J, saved = _run(*inputs, save=True)
        ctx.save_for_backward(*saved)
        return y, M, J

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dM: Tensor, dJ: Tensor) -> tuple[Tensor | None, ...]:
        q, k, w, b, start, prior, kept, marks = ctx.saved_tensors
        B, T, H, K = q.shape
        dq, dk, dw, db, dkept = (None if x is None else torch.empty_like(x) for x in (q, k, w, b, kept))
        DM, DJ = (x.clone(memory_format=torch.contiguous_format) for x in (dM, dJ))
        dprior = prior.new_empty((B, H))
        arrays = rows(
            q.dtype, q, k, w, b, start, prior, kept, marks, dy.contiguous(), dq, dk, dw, db, DM, DJ, dprior, dkept
        )
        spread(_backward, _backward_parallel, B * H, 6 * T * K * w.shape[-1], arrays)
        ddecay = None if dkept is None else dkept.mul_(kept).squeeze(-1)
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
    kept = None if decay is None else decay.detach().exp().contiguous().unsqueeze(-1)
    y = torch.empty_like(w)
    M, J = (x.detach().clone(memory_format=torch.contiguous_format) for x in (evidence, importance))
    marks = M.new_empty((-(-T // CHECKPOINT) * B, 2 * H, V, K)) if save else None
    arrays = rows(q.dtype, q, k, w, b, start, prior, kept, y, M, J, marks)
    spread(_forward, _forward_parallel, B * H, 2 * T * K * V, arrays)
    return y, M, J, (q, k, w, b, start, prior, kept, marks) if save else ()


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
    """Run the heads from `first` to before `last`; `evidence` and `importance` come as they were before the first step."""
    q, k, w, b, start, prior, kept, y, evidence, importance, marks = arrays
    B, T, H, K = q.shape
    for head in range(first, last):
        n, h = head // H, head % H
        M, J = evidence[n, h], importance[n, h]
        for t in range(T):
            if marks.size and t % CHECKPOINT == 0:
                _copy(marks[t // CHECKPOINT * B + n, 2 * h], M)
                _copy(marks[t // CHECKPOINT * B + n, 2 * h + 1], J)
            if start[n, t]:
                _clear(M)
                _clear(J)
            a = kept[n, t, h, 0] if kept.size else prior.dtype.type(1)
            _step(M, J, a, w[n, t, h], b[n, t, h], k[n, t, h], prior[h], q[n, t, h], y[n, t, h])


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; DM and DJ come as the gradients of the last states."""
    q, k, w, b, start, prior, kept, marks, dy, dq, dk, dw, db, devidence, dimportance, dprior, dkept = arrays
    B, T, H, K = q.shape
    V = w.shape[3]
    empty = np.zeros((V, K), q.dtype)
    M = np.zeros((CHECKPOINT + 1, V, K), q.dtype)  # before and after each step since the checkpoint
    J = np.zeros((CHECKPOINT + 1, V, K), q.dtype)
    for head in range(first, last):
        n, h = head // H, head % H
        DM, DJ = devidence[n, h], dimportance[n, h]
        dprior[n, h] = 0
        for mark in range((T - 1) // CHECKPOINT, -1, -1):
            t0, t1 = mark * CHECKPOINT, min(T, (mark + 1) * CHECKPOINT)
            _copy(M[0], marks[mark * B + n, 2 * h])
            _copy(J[0], marks[mark * B + n, 2 * h + 1])
            for t in range(t0, t1):
                s = t - t0
                M0, J0 = (empty, empty) if start[n, t] else (M[s], J[s])
                a = kept[n, t, h, 0] if kept.size else prior.dtype.type(1)
                _form(M[s + 1], J[s + 1], M0, J0, a, w[n, t, h], b[n, t, h], k[n, t, h])
            for t in range(t1 - 1, t0 - 1, -1):
                s = t - t0
                dprior[n, h] += _undo_read(
                    DM, DJ, M[s + 1], J[s + 1], prior[h], q[n, t, h], dy[n, t, h], dq[n, t, h]
                )
                _undo_write(DM, DJ, w[n, t, h], b[n, t, h], k[n, t, h], dw[n, t, h], db[n, t, h], dk[n, t, h])
                if start[n, t]:
                    _clear(DM)
                    _clear(DJ)
                if kept.size:
                    M0, J0 = (empty, empty) if start[n, t] else (M[s], J[s])
                    dkept[n, t, h, 0] = _undo_decay(DM, DJ, M0, J0, kept[n, t, h, 0])


@jit
def _copy(to: Array, source: Array) -> None:
    for i in range(to.shape[0]):
        for j in range(to.shape[1]):
            to[i, j] = source[i, j]


@jit
def _clear(S: Array) -> None:
    for i in range(S.shape[0]):
        for j in range(S.shape[1]):
            S[i, j] = 0


@jit
def _step(M: Array, J: Array, a: float, w: Array, b: Array, k: Array, prior: float, q: Array, y: Array) -> None:
    """M <- a M + w k^T;  J <- a J + b (k^2)^T;  y = (M / (J + prior)) q."""
    V, K = M.shape
    for i in range(V):
        wi, bi, total = w[i], b[i], q.dtype.type(0)
        for j in range(K):
            m = a * M[i, j] + wi * k[j]
            n = a * J[i, j] + bi * (k[j] * k[j])
            M[i, j], J[i, j] = m, n
            total += m / (n + prior) * q[j]
        y[i] = total


@jit
def _form(M: Array, J: Array, M0: Array, J0: Array, a: float, w: Array, b: Array, k: Array) -> None:
    """M = a M0 + w k^T;  J = a J0 + b (k^2)^T."""
    V, K = M.shape
    for i in range(V):
        wi, bi = w[i], b[i]
        for j in range(K):
            M[i, j] = a * M0[i, j] + wi * k[j]
            J[i, j] = a * J0[i, j] + bi * (k[j] * k[j])


@jit
def _undo_read(
    DM: Array, DJ: Array, M: Array, J: Array, prior: float, q: Array, dy: Array, dq: Array
) -> float:
    """Add to DM and DJ what the read says; write dq and return the gradient of the prior."""
    V, K = M.shape
    dprior, one = q.dtype.type(0), q.dtype.type(1)
    for j in range(K):
        dq[j] = 0
    for i in range(V):
        dyi = dy[i]
        for j in range(K):
            inverse = one / (J[i, j] + prior)
            mean = M[i, j] * inverse
            g = dyi * q[j] * inverse
            DM[i, j] += g
            DJ[i, j] -= g * mean
            dprior -= g * mean
            dq[j] += dyi * mean
    return dprior


@jit
def _undo_write(DM: Array, DJ: Array, w: Array, b: Array, k: Array, dw: Array, db: Array, dk: Array) -> None:
    """dw = DM k, db = DJ k^2, dk = DM^T w + 2 k * (DJ^T b)."""
    V, K = DM.shape
    for j in range(K):
        dk[j] = 0
    for i in range(V):
        wi, bi = w[i], b[i]
        dwi = dbi = k.dtype.type(0)
        for j in range(K):
            dwi += DM[i, j] * k[j]
            dbi += DJ[i, j] * (k[j] * k[j])
            half = k[j] * (DJ[i, j] * bi)
            dk[j] += DM[i, j] * wi + half + half
        dw[i], db[i] = dwi, dbi


@jit
def _undo_decay(DM: Array, DJ: Array, M0: Array, J0: Array, a: float) -> float:
    """DM, DJ <- a DM, a DJ;  return the gradient of a."""
    V, K = DM.shape
    da = DM.dtype.type(0)
    for i in range(V):
        for j in range(K):
            da += DM[i, j] * M0[i, j] + DJ[i, j] * J0[i, j]
            DM[i, j] *= a
            DJ[i, j] *= a
    return da
