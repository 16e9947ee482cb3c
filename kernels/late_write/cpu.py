r"""The network updated once per period as a compiled loop over heads; arguments as in `reference.py`.

Between two updates the weights W = A + F are constant, and the accumulated gradients G are read by nothing: a head's
steps are cut into pieces, each within one period of one life. Gradients of a piece, g. that of what follows the dot:

    where a period ends:  g.G = g.F                                           F' = F + G
    for every step:  g.d = -theta g.G x,  g.x = -theta g.G^T d,  g.theta = -d^T g.G x           G' = G - theta d x^T
                     and from these, and from the reading, g.W, g.q, g.k and g.v
    g.F += g.W,  g.A += g.W;  where the piece began a life  g.F = g.G = 0

The forward pass keeps F where a piece begins; nothing else of the state is needed.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.inner_loop.network import Layers, places
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread
from lifelong.kernels.segments import life_start_steps

from .reference import Network

__all__ = ["late_write"]

TINY = 1e-12  # as in `inner_loop/network.py`


def late_write(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    weights: Tensor,
    fast: Tensor,
    gathered: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    period: int,
    *,
    batch: int | None = None,
    network: Network = "mlp",
    keep: Tensor | None = None,
    stride: Tensor | None = None,
    bound: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Compute `reference.late_write` in a compiled loop; float32 or float64, differentiable once.

    It has the `mlp` without momentum only.
    """
    inputs = (q, k, v, rate, weights, fast, gathered)
    settings = _settings(layers, period, bound)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        y, fast, gathered = _LateWrite.apply(phase, start, settings, *inputs)  # type: ignore[no-untyped-call]
    else:
        y, fast, gathered, _ = _run(phase, start, settings, *inputs, save=False)
    age = start.shape[1] - life_start_steps(phase, start)[:, -1:]
    return y, fast, gathered, None, age % period


def _settings(layers: Layers, period: int, bound: bool) -> Arrays:
    """Return rows, columns and places of every layer, [L, 5], and the other constants of the loop, [1, 2]."""
    return places(layers), np.array([[period, bound]], np.int64)


class _LateWrite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, phase: Tensor, start: Tensor, settings: Any, *inputs: Tensor) -> Any:
        y, fast, gathered, kept = _run(phase, start, settings, *inputs, save=True)
        ctx.settings = settings
        ctx.save_for_backward(*kept)
        return y, fast, gathered

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dfast: Tensor, dgathered: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        q, k, v, rate, weights, fast, phase, start, marks = ctx.saved_tensors
        B, T, H, _ = q.shape
        states = [z.clone(memory_format=torch.contiguous_format) for z in (dfast, dgathered)]
        own = [torch.empty_like(z) for z in (q, k, v, rate)]
        shared = weights.new_zeros(B, *weights.shape)  # every head of every life sums its own
        given = rows(q.dtype, q, k, v, rate, weights, fast, phase, start) + ctx.settings
        given += rows(q.dtype, marks, dy.contiguous(), *states, *own, shared)
        spread(_backward, B * H, 8 * T * weights.shape[1], given)
        return None, None, None, *own, shared.sum(0), *states


def _run(phase: Tensor, start: Tensor, settings: Arrays, *inputs: Tensor, save: bool) -> Any:
    """Run forward; return y, the last states and what the backward pass needs."""
    q, k, v, rate, weights = (z.detach().contiguous() for z in inputs[:5])
    fast, gathered = ((own_state if save else next_state)(z) for z in inputs[5:])
    first = inputs[5].detach().contiguous() if save else fast
    phase, start = phase.contiguous(), start.contiguous()
    (B, T, H, _), P, period = q.shape, weights.shape[1], int(settings[1][0, 0])
    y, marks = q.new_empty(B, T, H, v.shape[-1]), q.new_empty(T // period + 1 if save else 0, B, H, P)
    given = rows(q.dtype, q, k, v, rate, weights, fast, gathered, phase, start) + settings
    spread(_forward, B * H, (T + 2) * P, given + rows(q.dtype, marks, y))
    return y, fast, gathered, (q, k, v, rate, weights, first, phase, start, marks)


# Row b H + h of a state is head h of life b. Of every layer `shape` holds rows, columns, and where its weights, its
# columns and its rows begin among those of all layers. Row 0 of X and Z are inputs and outputs of all layers at the
# query, row 1 at the key; rows of U are scratch: 0 the unscaled gradients d, 1 to 3 see where they are used.


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; states come as those before the first step."""
    q, k, v, rate, weights, fast, gathered, phase, start, shape, options, marks, y = arrays
    T, H, P, period = start.shape[1], weights.shape[0], weights.shape[1], options[0, 0]
    columns, units = np.int64(shape[-1, 3] + shape[-1, 1]), np.int64(shape[-1, 4] + shape[-1, 0])
    X, Z, U = np.empty((2, columns), q.dtype), np.empty((2, units), q.dtype), np.empty((4, units), q.dtype)
    S, now, facts = np.empty((2, units), q.dtype), np.empty((1, P), q.dtype), np.empty(3, q.dtype)
    for row in range(first, last):
        b, h = row // H, row % H
        i, mark, changed = phase[b, 0] % period, 0, True
        for t in range(T):
            if start[b, t]:
                for j in range(P):
                    fast[row, j] = gathered[row, j] = 0
                i, changed = 0, True
            if changed:
                for j in range(P):
                    now[0, j] = weights[h, j] + fast[row, j]
                changed = False
            at = (b * T + t) * H + h
            _through(X, Z, S, now, q, k, at, shape)
            for r in range(y.shape[1]):
                y[at, r] = Z[0, shape[-1, 4] + np.uint64(r)]
            _descend(X, Z, S, U, now, v, at, facts, shape, options)
            theta = rate[b * T + t, h] * facts[0]
            for layer in range(len(shape)):
                C, place, x0 = shape[layer, 1], shape[layer, 2], shape[layer, 3]
                for r in range(shape[layer, 0]):
                    by, to = theta * U[0, shape[layer, 4] + r], place + r * C
                    for c in range(C):
                        gathered[row, to + c] -= by * X[1, x0 + c]
            i += 1
            if i == period:
                for j in range(P):
                    fast[row, j] += gathered[row, j]
                    gathered[row, j] = 0
                i, changed = 0, True
                if marks.size:
                    for j in range(P):
                        marks[mark * len(fast) + row, j] = fast[row, j]
                    mark += 1


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; gradients of the last states come in those of the first, `g...`."""
    (
        q, k, v, rate, weights, fast, phase, start, shape, options, marks, dy,
        gF, gG, dq, dk, dv, drate, dweights,
    ) = arrays  # fmt: skip
    T, H, P, period = start.shape[1], weights.shape[0], weights.shape[1], options[0, 0]
    columns, units = np.int64(shape[-1, 3] + shape[-1, 1]), np.int64(shape[-1, 4] + shape[-1, 0])
    X, Z, U = np.empty((2, columns), q.dtype), np.empty((2, units), q.dtype), np.empty((4, units), q.dtype)
    S, now, facts = np.empty((2, units), q.dtype), np.empty((1, P), q.dtype), np.empty(3, q.dtype)
    gnow, gX, gz = np.empty((1, P), q.dtype), np.empty((2, columns), q.dtype), np.empty((2, units), q.dtype)
    pieces = np.empty((T, 4), np.int64)  # first step, steps, whether a period ends, mark or -1 (state) or -2 (start)
    for row in range(first, last):
        b, h = row // H, row % H
        i, t, mark, count = phase[b, 0] % period, 0, 0, 0
        while t < T:
            pieces[count, 3] = mark - 1
            if start[b, t]:
                i, pieces[count, 3] = 0, -2
            n = 1
            while t + n < T and i + n < period and not start[b, t + n]:
                n += 1
            pieces[count, 0], pieces[count, 1], pieces[count, 2] = t, n, i + n == period
            mark += i + n == period
            i, t, count = (i + n) % period, t + n, count + 1

        for piece in range(count - 1, -1, -1):
            source = pieces[piece, 3]
            for j in range(P):
                gnow[0, j], now[0, j] = 0, weights[h, j]
            if source == -1:
                for j in range(P):
                    now[0, j] += fast[row, j]
            elif source >= 0:
                for j in range(P):
                    now[0, j] += marks[source * len(fast) + row, j]
            if pieces[piece, 2]:
                for j in range(P):
                    gG[row, j] = gF[row, j]
            for t in range(pieces[piece, 0], pieces[piece, 0] + pieces[piece, 1]):
                at = (b * T + t) * H + h
                _through(X, Z, S, now, q, k, at, shape)
                _descend(X, Z, S, U, now, v, at, facts, shape, options)
                for r in range(dy.shape[1]):
                    gz[0, shape[-1, 4] + np.uint64(r)] = dy[at, r]
                drate[b * T + t, h] = _unwrite(gG, row, X, U, gX, gz, facts, rate[b * T + t, h], shape)
                _undescend(X, Z, S, U, now, gnow, gX, gz, facts, shape, options)
                for r in range(dv.shape[1]):
                    dv[at, r] = -gz[1, shape[-1, 4] + np.uint64(r)]
                _unthrough(X, Z, S, U, now, gnow, gX, gz, shape)
                for c in range(dq.shape[1]):
                    dq[at, c], dk[at, c] = gX[0, c], gX[1, c]
            for j in range(P):
                gF[row, j] += gnow[0, j]
                dweights[row, j] += gnow[0, j]
            if source == -2:
                for j in range(P):
                    gF[row, j] = gG[row, j] = 0


@jit
def _sigmoid(z: Any, like: Array) -> Any:
    """Return 1 / (1 + exp(-z)); `like` has the same type."""
    one = like.dtype.type(1)
    if like.itemsize == 4:
        return one / (one + one + _expm1(min(-z, np.float32(87))))
    return one / (one + np.exp(-z))


@jit
def _expm1(x: Any) -> Any:
    """Return exp(x) - 1 in single precision: 2^n (1 + p) - 1 = 2^n p + 2^n - 1, p = expm1(r), |r| < log(2) / 2."""
    y = max(x, np.float32(-87))
    n = np.floor(y * np.float32(1.44269504) + np.float32(0.5))
    r = y - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)  # log(2) in two parts: no digits are lost
    p = np.float32(1 / 5040)
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    p = (p * r + np.float32(1)) * r
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return power * p + (power - np.float32(1))


@jit
def _through(X: Array, Z: Array, S: Array, now: Array, q: Array, k: Array, at: int, shape: Array) -> None:
    """Write inputs, outputs and their sigmoids of all layers, at query and key."""
    L, zero = len(shape), q.dtype.type(0)
    for c in range(q.shape[1]):
        X[0, c], X[1, c] = q[at, c], k[at, c]
    for layer in range(L):
        R, C, place, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        for r in range(R):
            asked, written, w = zero, zero, place + r * C
            for c in range(C):
                asked += now[0, w + c] * X[0, x0 + c]
                written += now[0, w + c] * X[1, x0 + c]
            Z[0, z0 + r], Z[1, z0 + r] = asked, written
        if layer + 1 < L:
            for n in range(2):
                for r in range(R):
                    S[n, z0 + r] = _sigmoid(Z[n, z0 + r], Z)
                    X[n, shape[layer + 1, 3] + r] = Z[n, z0 + r] * S[n, z0 + r]


@jit
def _descend(
    X: Array, Z: Array, S: Array, U: Array, now: Array, v: Array, at: int, facts: Array, shape: Array, options: Array
) -> None:
    """Write the gradients d of all layers, and share, gain and |d_L|^2 to `facts`; U[1] are the W^T d."""
    L, one, total, end = len(shape), v.dtype.type(1), v.dtype.type(0), v.dtype.type(TINY)
    for r in range(shape[-1, 0]):
        U[0, shape[-1, 4] + r] = Z[1, shape[-1, 4] + r] - v[at, r]
        end += U[0, shape[-1, 4] + r] * U[0, shape[-1, 4] + r]
    for layer in range(L - 2, -1, -1):
        R, z0, above = shape[layer, 0], shape[layer, 4], shape[layer + 1, 4]
        for c in range(R):
            U[1, z0 + c] = 0
        for r in range(shape[layer + 1, 0]):
            by, w = U[0, above + r], shape[layer + 1, 2] + r * R
            for c in range(R):
                U[1, z0 + c] += by * now[0, w + c]
        for c in range(R):
            U[0, z0 + c] = U[1, z0 + c] * S[1, z0 + c] * (one + Z[1, z0 + c] * (one - S[1, z0 + c]))
    facts[0], facts[1], facts[2] = one, one, end
    if options[0, 1]:
        for layer in range(L):
            total += _square(U, 0, shape[layer, 4], shape[layer, 0]) * _square(X, 1, shape[layer, 3], shape[layer, 1])
        facts[1] = total / end
        facts[0] = one / max(facts[1], one)


@jit
def _square(x: Array, row: int, first: Any, size: Any) -> Any:
    total = x.dtype.type(0)
    for r in range(size):
        total += x[row, first + r] * x[row, first + r]
    return total


@jit
def _unwrite(
    gG: Array, row: int, X: Array, U: Array, gX: Array, gz: Array, facts: Array, theta: Any, shape: Array
) -> Any:
    """Write the gradients of d and x from that of G - theta share d x^T; return that of theta."""
    zero, share, gtheta = X.dtype.type(0), facts[0], X.dtype.type(0)
    for layer in range(len(shape)):
        R, C, place, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        for c in range(C):
            gX[1, x0 + c] = 0
        for r in range(R):
            along, by, w = zero, -theta * share * U[0, z0 + r], place + r * C
            for c in range(C):
                along += gG[row, w + c] * X[1, x0 + c]
                gX[1, x0 + c] += by * gG[row, w + c]
            gz[1, z0 + r] = -theta * along
            gtheta -= share * U[0, z0 + r] * along
    return gtheta


@jit
def _undescend(
    X: Array, Z: Array, S: Array, U: Array, now: Array, gnow: Array, gX: Array, gz: Array, facts: Array, shape: Array,
    options: Array,
) -> None:  # fmt: skip
    """Bring the gradients of the scaled d to that of the error; U[3] are those of silu', U[2] those of W^T d."""
    L, one, zero, two = len(shape), X.dtype.type(1), X.dtype.type(0), X.dtype.type(2)
    share, gain, end, along = facts[0], facts[1], facts[2], X.dtype.type(0)
    for r in range(U.shape[1]):
        along += gz[1, r] * U[0, r]
        gz[1, r] *= share
    if options[0, 1] and gain > one:
        ggain = -along * share * share
        for layer in range(L):
            R, C, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 3], shape[layer, 4]
            d_square, x_square = _square(U, 0, z0, R), _square(X, 1, x0, C)
            by = two * ggain / end
            for r in range(R):
                gz[1, z0 + r] += by * x_square * U[0, z0 + r]
            for c in range(C):
                gX[1, x0 + c] += by * d_square * X[1, x0 + c]
        for r in range(shape[-1, 0]):
            gz[1, shape[-1, 4] + r] -= two * ggain * gain / end * U[0, shape[-1, 4] + r]
    for layer in range(L - 1):
        R, z0, above = shape[layer, 0], shape[layer, 4], shape[layer + 1, 4]
        for c in range(R):
            U[2, z0 + c] = gz[1, z0 + c] * S[1, z0 + c] * (one + Z[1, z0 + c] * (one - S[1, z0 + c]))
            U[3, z0 + c] = gz[1, z0 + c] * U[1, z0 + c]
        for r in range(shape[layer + 1, 0]):
            by, to, w = U[0, above + r], zero, shape[layer + 1, 2] + r * R
            for c in range(R):
                to += now[0, w + c] * U[2, z0 + c]
                gnow[0, w + c] += by * U[2, z0 + c]
            gz[1, above + r] += to


@jit
def _unthrough(
    X: Array, Z: Array, S: Array, U: Array, now: Array, gnow: Array, gX: Array, gz: Array, shape: Array
) -> None:
    """Bring the gradients of the outputs to those of query, key and weights."""
    one, two = X.dtype.type(1), X.dtype.type(2)
    for layer in range(len(shape) - 1, -1, -1):
        R, C, place, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        for c in range(C):
            gX[0, x0 + c] = 0
        for r in range(R):
            asked, written, w = gz[0, z0 + r], gz[1, z0 + r], place + r * C
            for c in range(C):
                gnow[0, w + c] += asked * X[0, x0 + c] + written * X[1, x0 + c]
                gX[0, x0 + c] += asked * now[0, w + c]
                gX[1, x0 + c] += written * now[0, w + c]
        if layer:
            below = shape[layer - 1, 4]
            for r in range(C):
                open_q, open_k, z = S[0, below + r], S[1, below + r], Z[1, below + r]
                gz[0, below + r] = gX[0, x0 + r] * open_q * (one + Z[0, below + r] * (one - open_q))
                bent = open_k * (one - open_k) * (two + z * (one - two * open_k))  # silu''
                gz[1, below + r] = gX[1, x0 + r] * open_k * (one + z * (one - open_k)) + U[3, below + r] * bent
