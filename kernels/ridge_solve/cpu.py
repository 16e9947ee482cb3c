"""Ridge regression at every step as a compiled loop; arguments as in `reference.py`."""

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

from .chunk import solve_all

__all__ = ["ridge_solve"]


def ridge_solve(
    q: Tensor,
    k: Tensor,
    write: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    ridge: Tensor,
    least: float,
    iterations: int,
) -> Tensor:
    """Compute `reference.ridge_solve` with the iterations of all steps in one compiled loop; float32 or float64."""
    given = (z.detach().contiguous() for z in (k, write, decay.detach().exp(), state, start, ridge))
    arrays, (B, T, H, K) = rows(q.dtype, *given), q.shape
    settings = np.array([[least, iterations, torch.finfo(q.dtype).tiny, torch.finfo(q.dtype).eps]], arrays[0].dtype)

    def compiled(q: Tensor) -> Tensor:
        q, r = q.detach().contiguous(), q.new_empty(q.shape)
        spread(_solve_all, B * H, T * K * K, (*rows(q.dtype, q), *arrays, *rows(q.dtype, r), settings))
        return r

    if not torch.is_grad_enabled():
        return compiled(q)
    return solve_all(q, k, write, decay, state, start, ridge, least, iterations, compiled)


@jit
def _solve_all(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`: row b H + h is head h of life b."""
    q, k, write, kept, state, start, ridge, r, settings = arrays
    T, H, K, iterations = start.shape[1], ridge.shape[0], q.shape[1], int(settings[0, 1])
    S, work = np.empty((K, K), q.dtype), np.empty((3, K), q.dtype)
    for row in range(first, last):
        b, h = row // H, row % H
        for i in range(K):
            for j in range(K):
                S[i, j] = state[row * K + i, j]
        for t in range(T):
            at = (b * T + t) * H + h
            if start[b, t]:
                for i in range(K):
                    for j in range(K):
                        S[i, j] = 0
            a = kept[b * T + t, h]
            for i in range(K):
                w = write[at, i]
                for j in range(K):
                    S[i, j] = a * S[i, j] + w * k[at, j]
            _solve(S, ridge, h, q, at, r, work, settings, iterations)


@jit
def _solve(
    S: Array, ridge: Array, h: int, q: Array, at: int, r: Array, work: Array, settings: Array, iterations: int
) -> None:
    """Write r of (S + diag(lambda)) r = q; rows of `work` are the residual, the direction p, and S p + lambda p.

    It ends early where the residual is below one rounding of q: what is left is less than rounding S p errs.
    """
    K, zero = S.shape[0], S.dtype.type(0)
    square, least, tiny = zero, settings[0, 0], settings[0, 2]
    for i in range(K):
        r[at, i] = 0
        work[0, i] = work[1, i] = q[at, i]
        square += q[at, i] * q[at, i]
    done = square * settings[0, 3] * settings[0, 3]
    for _ in range(iterations):
        if square <= done:
            break
        curved, length = zero, zero
        for i in range(K):
            total = zero
            for j in range(K):
                total += S[i, j] * work[1, j]
            work[2, i] = total + ridge[h, i] * work[1, i]
        for i in range(K):
            curved += work[1, i] * work[2, i]
            length += work[1, i] * work[1, i]
        size, before = square / max(max(curved, least * length), tiny), square
        square = zero
        for i in range(K):
            r[at, i] += size * work[1, i]
            work[0, i] -= size * work[2, i]
            square += work[0, i] * work[0, i]
        turn = square / max(before, tiny)
        for i in range(K):
            work[1, i] = work[0, i] + turn * work[1, i]
