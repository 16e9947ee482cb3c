r"""The self-modifying matrix as a compiled loop over heads; arguments as in `reference.py`.

All that a step of a mini-batch writes follows from F, the offsets it began with: a head's steps are cut into pieces,
each of one mini-batch of one life. With W = A + F and the short parts of W v as target, a step is

    w = target - (W + A) k,   e = w - alpha D k,   D' = alpha D + eta e k^T,   y = (A + D')_memory q

Gradients, last step first; g. is the gradient of what follows the dot:

    g.D' += g.y q^T in the rows of memory, as g.A,   g.q = (A + D')_memory^T g.y
    u = g.D' k,   g.eta = u^T e,   g.e = g.w = eta u,   g.k = eta g.D'^T e - alpha D^T g.e - (W + A)^T g.w
    g.(alpha D) = g.D' - g.e k^T,   g.alpha = sum D g.(alpha D),   g.D = alpha g.(alpha D)
    g.target = g.w,   g.W += -g.w k^T,   g.A += -g.w k^T, and through W x, W v and W z to W, x, z
    g.F += g.W,  g.A += g.W;  where a mini-batch ends  g.D += g.F, g.F = 0;  where the piece began a life both are 0

The forward pass keeps D where a piece begins; the backward pass makes those of its steps again.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread
from lifelong.kernels.segments import life_start_steps

__all__ = ["self_modifying"]

TINY = 1e-6  # as in `unit_length.py`


def self_modifying(
    q: Tensor,
    x: Tensor,
    z: Tensor,
    matrix: Tensor,
    frozen: Tensor,
    fast: Tensor,
    rate_bias: Tensor,
    fade_bias: Tensor,
    phase: Tensor,
    start: Tensor,
    batch: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.self_modifying` in a compiled loop; float32 or float64, differentiable once."""
    inputs = (q, x, z, matrix, rate_bias, fade_bias, frozen, fast)
    if torch.is_grad_enabled() and any(each.requires_grad for each in inputs):
        y, v, frozen, fast = _SelfModifying.apply(phase, start, batch, *inputs)  # type: ignore[no-untyped-call]
    else:
        y, v, frozen, fast, _ = _run(phase, start, batch, *inputs, save=False)
    age = start.shape[1] - life_start_steps(phase, start)[:, -1:]
    return y, v, frozen, fast, age % batch


class _SelfModifying(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, phase: Tensor, start: Tensor, batch: int, *inputs: Tensor) -> Any:
        y, v, frozen, fast, kept = _run(phase, start, batch, *inputs, save=True)
        ctx.batch = batch
        ctx.save_for_backward(*kept)
        return y, v, frozen, fast

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dv: Tensor, dfrozen: Tensor, dfast: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        *kept, marks = ctx.saved_tensors
        q, x, z, matrix, rate_bias, fade_bias = kept[:6]
        B, T, H, _ = q.shape
        states = [each.clone(memory_format=torch.contiguous_format) for each in (dfrozen, dfast)]
        own = [torch.empty_like(each) for each in (q, x, z)]
        shared = [each.new_zeros(B, *each.shape) for each in (matrix, rate_bias, fade_bias)]  # every life sums its own
        options = np.array([[ctx.batch]], np.int64)
        given = (*rows(q.dtype, *kept, marks, dy.contiguous(), dv.contiguous(), *states, *own, *shared), options)
        spread(_backward, B * H, 8 * T * matrix[0].numel(), given)
        return None, None, None, *own, *(each.sum(0) for each in shared), *states


def _run(phase: Tensor, start: Tensor, batch: int, *inputs: Tensor, save: bool) -> Any:
    """Run forward; return y, v, the last states and what the backward pass needs."""
    given = [each.detach().contiguous() for each in (*inputs[:6], phase, start)]
    frozen, fast = ((own_state if save else next_state)(each) for each in inputs[6:])
    first = [each.detach().contiguous() for each in inputs[6:]] if save else [frozen, fast]
    q, matrix = given[0], given[3]
    (B, T, H, K), R = q.shape, matrix.shape[1]
    y, v, marks = torch.empty_like(q), torch.empty_like(q), q.new_empty(T // batch + 1 if save else 0, B, H, R, K)
    arrays = rows(q.dtype, *given[:6], frozen, fast, *given[6:], marks, y, v)
    spread(_forward, B * H, (T + 2) * R * K, (*arrays, np.array([[batch]], np.int64)))
    return y, v, frozen, fast, (*given[:6], *first, *given[6:], marks)


# Row (b H + h) R + r of a state is row r of head h of life b. Of a piece, row j of a table is step j: K_ the keys, V_
# the values, OWN and SAID what both are made of, U the product W v, E the error w; rates[j] are C eta, alpha,
# and the factors that made key and value short.


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; states come as those before the first step."""
    q, x, z, A, rate_bias, fade_bias, F, D, phase, start, marks, y, v, options = arrays
    T, H, K, batch = start.shape[1], rate_bias.shape[1], q.shape[1], options[0, 0]
    R, one = 3 * K + 2, q.dtype.type(1)
    W, W2 = np.empty((R, K), q.dtype), np.empty((R, K), q.dtype)
    K_, V_, OWN, SAID = (
        np.empty((batch, K), q.dtype), np.empty((batch, K), q.dtype), np.empty((batch, K), q.dtype),
        np.empty((batch, K), q.dtype),
    )  # fmt: skip
    U, E, rates = np.empty((batch, R), q.dtype), np.empty((batch, R), q.dtype), np.empty((batch, 4), q.dtype)
    for row in range(first, last):
        b, h, s0 = row // H, row % H, row * R
        i, t, mark = phase[b, 0] % batch, 0, 0
        while t < T:
            if start[b, t]:
                i = 0
                for r in range(s0, s0 + R):
                    for c in range(K):
                        F[r, c] = D[r, c] = 0
            n = 1
            while t + n < T and i + n < batch and not start[b, t + n]:
                n += 1
            _whole(W, W2, A, h * R, F, s0)
            _plan(
                W, W2, x, z, (b * T + t) * H + h, H, n, rate_bias[0, h], fade_bias[0, h], K_, V_, OWN, SAID, U, E, rates
            )
            for j in range(n):
                at, eta, alpha = (b * T + t + j) * H + h, rates[j, 0] / q.dtype.type(batch), rates[j, 1]
                for c in range(K):
                    v[at, c] = V_[j, c]
                for r in range(R):
                    held, said = one - one, one - one
                    for c in range(K):
                        held += D[s0 + r, c] * K_[j, c]
                    by = eta * (E[j, r] - alpha * held)
                    for c in range(K):
                        D[s0 + r, c] = alpha * D[s0 + r, c] + by * K_[j, c]
                    if r >= 2 * K + 2:
                        for c in range(K):
                            said += (A[h * R + r, c] + D[s0 + r, c]) * q[at, c]
                        y[at, r - 2 * K - 2] = said
            i, t = i + n, t + n
            if i == batch:
                i = 0
                for r in range(R):
                    for c in range(K):
                        F[s0 + r, c] = D[s0 + r, c]
                if marks.size:
                    to = (mark * (len(D) // R) + row) * R
                    for r in range(R):
                        for c in range(K):
                            marks[to + r, c] = D[s0 + r, c]
                    mark += 1


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; gradients of the last states come in those of the first, `g...`."""
    (
        q, x, z, A, rate_bias, fade_bias, F, D, phase, start, marks, dy, dv,
        gF, gD, dq, dx, dz, dA, drate_bias, dfade_bias, options,
    ) = arrays  # fmt: skip
    T, H, K, batch = start.shape[1], rate_bias.shape[1], q.shape[1], options[0, 0]
    R, zero, one = 3 * K + 2, q.dtype.type(0), q.dtype.type(1)
    W, W2, gW, gW2 = (
        np.empty((R, K), q.dtype), np.empty((R, K), q.dtype), np.empty((R, K), q.dtype), np.empty((R, K), q.dtype),
    )  # fmt: skip
    K_, V_, OWN, SAID = (
        np.empty((batch, K), q.dtype), np.empty((batch, K), q.dtype), np.empty((batch, K), q.dtype),
        np.empty((batch, K), q.dtype),
    )  # fmt: skip
    U, E, rates = np.empty((batch, R), q.dtype), np.empty((batch, R), q.dtype), np.empty((batch, 4), q.dtype)
    F0, Ds = np.empty((R, K), q.dtype), np.empty(((batch + 1) * R, K), q.dtype)
    gk, gv, gu, gown = np.empty(K, q.dtype), np.empty(K, q.dtype), np.empty((1, R), q.dtype), np.empty((1, R), q.dtype)
    errors = np.empty((batch, R), q.dtype)
    pieces = np.empty((T, 4), np.int64)  # first step, steps, whether a batch ends, mark or -1 (state) or -2 (start)
    for row in range(first, last):
        b, h, s0, a0 = row // H, row % H, row * R, row % H * R
        i, t, mark, count = phase[b, 0] % batch, 0, 0, 0
        while t < T:
            pieces[count, 3] = mark - 1
            if start[b, t]:
                i, pieces[count, 3] = 0, -2
            n = 1
            while t + n < T and i + n < batch and not start[b, t + n]:
                n += 1
            pieces[count, 0], pieces[count, 1], pieces[count, 2] = t, n, i + n == batch
            mark += i + n == batch
            i, t, count = (i + n) % batch, t + n, count + 1

        for piece in range(count - 1, -1, -1):
            t, n, source = pieces[piece, 0], pieces[piece, 1], pieces[piece, 3]
            at0 = (b * T + t) * H + h
            # the states of the piece once more
            mark0 = (source * (len(D) // R) + row) * R
            for r in range(R):
                for c in range(K):
                    F0[r, c] = Ds[r, c] = zero
                if source == -1:
                    for c in range(K):
                        F0[r, c], Ds[r, c] = F[s0 + r, c], D[s0 + r, c]
                elif source >= 0:
                    for c in range(K):
                        F0[r, c] = Ds[r, c] = marks[mark0 + r, c]
            _whole(W, W2, A, a0, F0, 0)
            _plan(W, W2, x, z, at0, H, n, rate_bias[0, h], fade_bias[0, h], K_, V_, OWN, SAID, U, E, rates)
            for j in range(n):
                eta, alpha = rates[j, 0] / q.dtype.type(batch), rates[j, 1]
                for r in range(R):
                    held = zero
                    for c in range(K):
                        held += Ds[j * R + r, c] * K_[j, c]
                    errors[j, r] = E[j, r] - alpha * held
                    by = eta * errors[j, r]
                    for c in range(K):
                        Ds[(j + 1) * R + r, c] = alpha * Ds[j * R + r, c] + by * K_[j, c]

            for r in range(R):
                for c in range(K):
                    gW[r, c] = gW2[r, c] = zero
                if pieces[piece, 2]:
                    for c in range(K):
                        gD[s0 + r, c] += gF[s0 + r, c]
                        gF[s0 + r, c] = zero
            for j in range(n - 1, -1, -1):
                at, eta, alpha = at0 + j * H, rates[j, 0] / q.dtype.type(batch), rates[j, 1]
                geta = galpha = zero
                for c in range(K):
                    gk[c], gv[c], dq[at, c] = zero, dv[at, c], zero
                for r in range(R):
                    if r >= 2 * K + 2:
                        by = dy[at, r - 2 * K - 2]
                        for c in range(K):
                            dq[at, c] += by * (A[a0 + r, c] + Ds[(j + 1) * R + r, c])
                            gD[s0 + r, c] += by * q[at, c]
                            dA[s0 + r, c] += by * q[at, c]
                    along = zero
                    for c in range(K):
                        along += gD[s0 + r, c] * K_[j, c]
                    gw, by = eta * along, eta * errors[j, r]
                    geta += along * errors[j, r]
                    gu[0, r] = gw
                    for c in range(K):
                        gk[c] += by * gD[s0 + r, c] - gw * (alpha * Ds[j * R + r, c] + W2[r, c])
                        gW2[r, c] -= gw * K_[j, c]
                        g = gD[s0 + r, c] - gw * K_[j, c]
                        galpha += g * Ds[j * R + r, c]
                        gD[s0 + r, c] = alpha * g
                # the targets, then values, keys and rates
                _unshort(gu, U, j, 0, K)
                _unshort(gu, U, j, K, 2 * K)
                _unshort(gu, U, j, 2 * K, 2 * K + 1)
                _unshort(gu, U, j, 2 * K + 1, 2 * K + 2)
                _unshort(gu, U, j, 2 * K + 2, R)
                for r in range(R):
                    by = gu[0, r]
                    for c in range(K):
                        gv[c] += by * W[r, c]
                        gW[r, c] += by * V_[j, c]
                for c in range(K):
                    gown[0, K + c] = gv[c]
                    dx[at, c] = dz[at, c] = zero
                along, short = zero, rates[j, 3]
                for c in range(K):
                    along += gv[c] * SAID[j, c]
                for c in range(K):
                    gown[0, K + c] = short * (gv[c] - short * short * along * SAID[j, c])
                along, short = zero, rates[j, 2]
                for c in range(K):
                    along += gk[c] * OWN[j, c]
                for c in range(K):
                    gown[0, c] = short * (gk[c] - short * short * along * OWN[j, c])
                gown[0, 2 * K] = geta / q.dtype.type(batch) * rates[j, 0] * (one - rates[j, 0])
                gown[0, 2 * K + 1] = -galpha * alpha * (one - alpha)
                drate_bias[b, h] += gown[0, 2 * K]
                dfade_bias[b, h] += gown[0, 2 * K + 1]
                for r in range(2 * K + 2):
                    by = gown[0, r]
                    if K <= r < 2 * K:
                        for c in range(K):
                            dz[at, c] += by * W[r, c]
                            gW[r, c] += by * z[at, c]
                    else:
                        for c in range(K):
                            dx[at, c] += by * W[r, c]
                            gW[r, c] += by * x[at, c]
            for r in range(R):
                for c in range(K):
                    g = gW[r, c] + gW2[r, c]
                    gF[s0 + r, c] += g
                    dA[s0 + r, c] += g + gW2[r, c]
                if source == -2:
                    for c in range(K):
                        gF[s0 + r, c] = gD[s0 + r, c] = zero


@jit
def _whole(W: Array, W2: Array, A: Array, a0: int, F: Array, f0: int) -> None:
    """Write W = A + F, and W + A."""
    for r in range(len(W)):
        for c in range(W.shape[1]):
            W[r, c] = A[a0 + r, c] + F[f0 + r, c]
            W2[r, c] = W[r, c] + A[a0 + r, c]


@jit
def _plan(
    W: Array, W2: Array, x: Array, z: Array, at: int, H: int, n: int, rate_bias: float, fade_bias: float,
    K_: Array, V_: Array, OWN: Array, SAID: Array, U: Array, E: Array, rates: Array,
) -> None:  # fmt: skip
    """Write what the n steps of a piece say and write, from the matrix it began with; rates[:, 0] is C eta."""
    K, zero, one = W.shape[1], W.dtype.type(0), W.dtype.type(1)
    R = 3 * K + 2
    for j in range(n):
        row, long_k, long_v, own_rate, own_fade = at + j * H, W.dtype.type(TINY), one, rate_bias, fade_bias
        for r in range(K):
            own, said = zero, zero
            for c in range(K):
                own += W[r, c] * x[row, c]
                said += W[K + r, c] * z[row, c]
            OWN[j, r], SAID[j, r] = own, said
            long_k += own * own
            long_v += said * said
        for c in range(K):
            own_rate += W[2 * K, c] * x[row, c]
            own_fade += W[2 * K + 1, c] * x[row, c]
        rates[j, 0], rates[j, 1] = one / (one + np.exp(-own_rate)), one / (one + np.exp(own_fade))
        rates[j, 2], rates[j, 3] = one / np.sqrt(long_k), one / np.sqrt(long_v)
        for c in range(K):
            K_[j, c], V_[j, c] = OWN[j, c] * rates[j, 2], SAID[j, c] * rates[j, 3]
        for r in range(R):
            asked, held = zero, zero
            for c in range(K):
                asked += W[r, c] * V_[j, c]
                held += W2[r, c] * K_[j, c]
            U[j, r], E[j, r] = asked, -held
        _add_short(E, U, j, 0, K)
        _add_short(E, U, j, K, 2 * K)
        _add_short(E, U, j, 2 * K, 2 * K + 1)
        _add_short(E, U, j, 2 * K + 1, 2 * K + 2)
        _add_short(E, U, j, 2 * K + 2, R)


@jit
def _add_short(to: Array, u: Array, j: int, first: int, last: int) -> None:
    """Add u / sqrt(1 + |u|^2) of the part from `first` to before `last` of row j."""
    square = u.dtype.type(1)
    for r in range(first, last):
        square += u[j, r] * u[j, r]
    by = u.dtype.type(1) / np.sqrt(square)
    for r in range(first, last):
        to[j, r] += by * u[j, r]


@jit
def _unshort(g: Array, u: Array, j: int, first: int, last: int) -> None:
    """Bring the gradient of u / sqrt(1 + |u|^2) to that of u, of one part."""
    square, along = u.dtype.type(1), u.dtype.type(0)
    for r in range(first, last):
        square += u[j, r] * u[j, r]
        along += u[j, r] * g[0, r]
    by = u.dtype.type(1) / np.sqrt(square)
    for r in range(first, last):
        g[0, r] = by * (g[0, r] - by * by * along * u[j, r])
