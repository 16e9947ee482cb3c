"""Loops of `cpu.py` over the heads of all lives: forward, backward, and the descent of a pair with its adjoint.

Row b H + h of a state is head h of life b; a weight's place is that of `network.split`. Of every layer `shape` holds
rows R, columns C, and where its weights, its columns and its rows begin among those of all layers. Of pair j, X[j] are
the inputs x of all layers side by side, Z[j] their outputs z, G[j] the unscaled and D[j] the scaled gradients d, and
facts[j] share, gain, steep, sum of lengths, and |d_L|^2 (see `network.py`).
"""

from typing import Any

import numpy as np

from lifelong.kernels.jit import Array, Arrays, jit

__all__ = ["backward", "forward"]

L3, HUBER = 1, 2  # losses; 0 is l2
L4, SOFTMAX = 1, 2  # parametrisations; 0 is the identity
FACTS = 5
KAPPA, ETA, SIGN, RHO, A_, C_, M_, PACES = range(8)  # columns of `paces`, and how many
EPS, TINY, NORM_EPS = 1e-4, 1e-12, 1e-2  # as in `parametrisation.py` and `network.py`


@jit
def forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; states come as those before the first step."""
    (
        q, k, v, weights, frozen, fast, momentum, rate, kept, drag, trust, limit, scale, gamma, beta,
        phase, start, shape, options, marks, momentum_marks, y,
    ) = arrays  # fmt: skip
    T, H, P = start.shape[1], weights.shape[0], weights.shape[1]
    of_steps, batch, past = options[0, 2], options[0, 4], options[0, 5]
    columns, units, most = shape[-1, 3] + shape[-1, 1], shape[-1, 4] + shape[-1, 0], past + batch
    X, Z, D, G = _table(q, most, columns), _table(q, most, units), _table(q, most, units), _table(q, most, units)
    facts, now, reach = _table(q, most, FACTS), _table(q, 1, P), _table(q, 1, len(shape))
    XQ, ZQ, spare, share = (
        _table(q, batch, columns),
        _table(q, batch, units),
        _table(q, 4, units),
        _table(q, batch, most),
    )
    paces, run, pull = _table(q, batch, PACES), _table(q, batch, most), _table(q, batch, most)
    held, one, softmax = _table(q, 4 * batch, units), q.dtype.type(1), options[0, 1] == SOFTMAX
    raised, means = _table(q, 1 if softmax else 0, P), _table(q, 1, units)
    for row in range(first, last):
        b, h = row // H, row % H
        i, t, mark, first_pair = phase[b, 0], 0, 0, 0
        while t < T:
            if start[b, t]:
                _fill(frozen, row, 0)
                _fill(fast, row, 0)
                _fill(momentum, row, 0)
                i, first_pair = 0, past + t
            elif t and marks.size:
                _copy(marks, mark * len(fast) + row, fast, row)
                _copy(momentum_marks, mark * len(fast) + row, momentum, row)
                mark += 1
            n = 1
            while t + n < T and i + n < batch and not start[b, t + n]:
                n += 1
            oldest = max(0, first_pair - t)
            _effective(now, reach, weights, h, frozen, row, shape, options)
            _descend_all(
                oldest, past + n, b, t, h, k, v, limit, X, Z, D, G, facts, now, reach, gamma, beta, spare, shape,
                options, T + past, H,
            )  # fmt: skip
            for s in range(n):
                p, sign, kappa, eta = _paces(rate, kept, drag, b * T + t + s, h, of_steps)
                _shares(share, s, p, trust, b * (T + past) + t, h, max(oldest, s), s + past + 1, past + 1)
                rho = scale[h, i + s] if scale.size else one
                _copy(XQ, s, q, (b * T + t + s) * H + h)
                if shape[0, 1] > q.shape[1]:
                    _bias(XQ, s, shape, 0)
                if softmax:
                    _step(
                        fast, momentum, row, frozen, row, weights, h, kappa, eta, sign, rho, share,
                        max(oldest, s), s + past + 1, X, D, XQ, ZQ, s, raised, means, 0, shape,
                    )  # fmt: skip
                else:
                    _grow(paces, run, pull, share, s, kappa, eta, sign, rho, max(oldest, s), s + past + 1, oldest)
            if not softmax:
                _readings(
                    fast, momentum, row, frozen, row, now, n, paces, pull, oldest, past, X, D, XQ, ZQ, held, reach,
                    shape,
                )  # fmt: skip
                _change(fast, momentum, row, paces, run, pull, n, oldest, past, X, D, shape)
            for s in range(n):
                _read(y, (b * T + t + s) * H + h, ZQ, s, shape[-1, 4], gamma, beta, h)
            i += n
            if i == batch:
                rho = scale[h, batch - 1] if scale.size else one
                for j in range(P):
                    end = frozen[row, j] + rho * (fast[row, j] - frozen[row, j])
                    frozen[row, j] = fast[row, j] = end
                i = 0
            t += n


@jit
def backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`; gradients of the last states come in those of the first, `g...`."""
    (
        q, k, v, weights, frozen, fast, momentum, rate, kept, drag, trust, limit, scale, gamma, beta,
        phase, start, shape, options, marks, momentum_marks, dy,
        gF, gD, gM, dq, dk, dv, drate, dkept, ddrag, dtrust, dlimit, dweights, dscale, dgamma, dbeta,
    ) = arrays  # fmt: skip
    T, H, P = start.shape[1], weights.shape[0], weights.shape[1]
    of_steps, batch, past = options[0, 2], options[0, 4], options[0, 5]
    L, columns, units = len(shape), shape[-1, 3] + shape[-1, 1], shape[-1, 4] + shape[-1, 0]
    most, moving = past + batch, momentum.size > 0
    X, gX, gx = _table(q, most, columns), _table(q, most, columns), _table(q, batch, columns)
    Z, D, G, gd = _table(q, most, units), _table(q, most, units), _table(q, most, units), _table(q, most, units)
    gz, spare = _table(q, batch, units), _table(q, 8, units)
    facts, now, gnow = _table(q, most, FACTS), _table(q, 1, P), _table(q, 1, P)
    reach, greach, grow = _table(q, 1, L), _table(q, 1, L), _table(q, 1, columns)
    XQ, ZQ, share = _table(q, batch, columns), _table(q, batch, units), _table(q, batch, most)
    softmax, one = options[0, 1] == SOFTMAX, q.dtype.type(1)
    kept_states = batch + 1 if softmax else 2
    F, Ds, Ms = _table(q, 1, P), _table(q, kept_states, P), _table(q, kept_states if moving else 0, P)
    paces, run, pull = _table(q, batch, PACES), _table(q, batch, most), _table(q, batch, most)
    gpaces, grun, gpull = _table(q, batch, PACES), _table(q, batch, most), _table(q, batch, most)
    raised, means = _table(q, batch if softmax else 0, P), _table(q, batch, units)
    held, gshare, sums = _table(q, 4 * batch, units), _table(q, batch, most), _table(q, batch, 4)
    pieces = np.empty(
        (T, 5), np.int64
    )  # first step, steps, phase, first pair of the life, mark or -1 (state) or -2 (start)
    for row in range(first, last):
        b, h = row // H, row % H
        i, t, mark, first_pair, count = phase[b, 0], 0, 0, 0, 0
        while t < T:
            pieces[count, 4] = -1
            if start[b, t]:
                i, first_pair, pieces[count, 4] = 0, past + t, -2
            elif t:
                pieces[count, 4] = mark
                mark += 1
            n = 1
            while t + n < T and i + n < batch and not start[b, t + n]:
                n += 1
            pieces[count, 0], pieces[count, 1], pieces[count, 2], pieces[count, 3] = t, n, i, first_pair
            i, t, count = (i + n) % batch, t + n, count + 1

        for piece in range(count - 1, -1, -1):
            t, n, i = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
            first_pair, source = pieces[piece, 3], pieces[piece, 4]
            # the states of the piece once more
            if source == -2:
                _fill(F, 0, 0)
                _fill(Ds, 0, 0)
                _fill(Ms, 0, 0)
            elif source == -1:
                _copy(F, 0, frozen, row)
                _copy(Ds, 0, fast, row)
                _copy(Ms, 0, momentum, row)
            else:
                at = source * len(fast) + row
                _copy(F, 0, marks, at)
                _copy(Ds, 0, marks, at)
                _copy(Ms, 0, momentum_marks, at)
            oldest = max(0, first_pair - t)
            _effective(now, reach, weights, h, F, 0, shape, options)
            _descend_all(
                oldest, past + n, b, t, h, k, v, limit, X, Z, D, G, facts, now, reach, gamma, beta, spare, shape,
                options, T + past, H,
            )  # fmt: skip
            for s in range(n):
                p, sign, kappa, eta = _paces(rate, kept, drag, b * T + t + s, h, of_steps)
                _shares(share, s, p, trust, b * (T + past) + t, h, max(oldest, s), s + past + 1, past + 1)
                rho = scale[h, i + s] if scale.size else one
                _copy(XQ, s, q, (b * T + t + s) * H + h)
                if shape[0, 1] > q.shape[1]:
                    _bias(XQ, s, shape, 0)
                if softmax:
                    _copy(Ds, s + 1, Ds, s)
                    _copy(Ms, s + 1, Ms, s)
                    _step(
                        Ds, Ms, s + 1, F, 0, weights, h, kappa, eta, sign, rho, share,
                        max(oldest, s), s + past + 1, X, D, XQ, ZQ, s, raised, means, s, shape,
                    )  # fmt: skip
                else:
                    _grow(paces, run, pull, share, s, kappa, eta, sign, rho, max(oldest, s), s + past + 1, oldest)
            if not softmax:
                _readings(Ds, Ms, 0, F, 0, now, n, paces, pull, oldest, past, X, D, XQ, ZQ, held, reach, shape)
                if scale.size and i + n == batch:  # F after the piece reads D after it
                    _copy(Ds, 1, Ds, 0)
                    _copy(Ms, 1, Ms, 0)
                    _change(Ds, Ms, 1, paces, run, pull, n, oldest, past, X, D, shape)
            end = n if softmax else 1

            # what followed the piece has read E of its last step, where the mini-batch ended
            if i + n == batch:
                rho, along = scale[h, batch - 1] if scale.size else one, q.dtype.type(0)
                for j in range(P):
                    both = gF[row, j] + gD[row, j]
                    along += both * (Ds[end, j] - F[0, j])
                    gD[row, j], gF[row, j] = rho * both, (one - rho) * both
                if scale.size:
                    dscale[row, batch - 1] += along
            _fill(gnow, 0, 0)
            _fill(greach, 0, 0)
            for j in range(oldest, past + n):
                _fill(gd, j, 0)
                _fill(gX, j, 0)

            for s in range(n - 1, -1, -1):
                at = (b * T + t + s) * H + h
                _unread(gz, ZQ, s, dy, at, shape[-1, 4], gamma, dgamma, dbeta, h, row, spare)
                if softmax:
                    p, sign, kappa, eta = _paces(rate, kept, drag, b * T + t + s, h, of_steps)
                    rho = scale[h, i + s] if scale.size else one
                    _fill(gshare, s, 0)
                    _unstep(
                        gF, gD, gM, row, Ds, s, Ms, F, dweights, kappa, eta, sign, rho, share, gshare,
                        max(oldest, s), s + past + 1, X, D, gX, gd, XQ, ZQ, gz, gx, raised, means, grow, sums, shape,
                    )  # fmt: skip
            if not softmax:
                _unchange(
                    gD, gM, row, Ds, Ms, paces, run, pull, gpaces, grun, gpull, n, oldest, past, X, D, gX, gd, shape
                )
                _unreadings(
                    gF, gD, gM, row, Ds, Ms, F, now, dweights, n, paces, pull, gpaces, gpull, oldest, past, X, D, gX,
                    gd, XQ, ZQ, held, gz, gx, reach, greach, shape,
                )  # fmt: skip
                _ungrow(paces, run, pull, gpaces, grun, gpull, gshare, sums, n, oldest, past)
            for s in range(n - 1, -1, -1):
                p, sign, kappa, eta = _paces(rate, kept, drag, b * T + t + s, h, of_steps)
                for c in range(dq.shape[1]):
                    dq[(b * T + t + s) * H + h, c] = gx[s, c]
                if scale.size:
                    dscale[row, i + s] += sums[s, 3]
                along = q.dtype.type(0)  # of p
                for j in range(max(oldest, s), s + past + 1):
                    if trust.size:
                        w = one / q.dtype.type(past + 1)
                        along += gshare[s, j] * w * trust[b * (T + past) + t + j, h]
                        dtrust[b * (T + past) + t + j, h] += p * gshare[s, j] * w
                    else:
                        along += gshare[s, j]
                _unpace(rate, drag, drate, dkept, ddrag, b * T + t + s, h, of_steps, along, sums, s)

            for j in range(oldest, past + n):
                _undescend(
                    j, (b * (T + past) + t + j) * H + h, b * (T + past) + t + j, h, row, v, limit, X, Z, D, G, facts,
                    now, reach, gamma, beta, gd, gX, gnow, greach, dk, dv, dlimit, dgamma, dbeta, spare, shape, options,
                )  # fmt: skip
            _ineffective(gnow, greach, reach, now, weights, h, F, dweights, gF, row, shape, options)
            if source == -2:
                _fill(gF, row, 0)
                _fill(gD, row, 0)
                _fill(gM, row, 0)


@jit
def _table(like: Array, count: int, width: int) -> Array:
    return np.zeros((np.int64(count), np.int64(width)), like.dtype)


@jit
def _fill(x: Array, row: int, value: float) -> None:
    if x.size:
        for j in range(x.shape[1]):
            x[row, j] = value


@jit
def _copy(to: Array, row: int, x: Array, at: int) -> None:
    if to.size and x.size:
        for j in range(x.shape[1]):
            to[row, j] = x[at, j]


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
def _paces(rate: Array, kept: Array, drag: Array, at: int, h: int, of_steps: int) -> tuple[float, float, float, float]:
    """Return p, s, kappa and eta."""
    one, zero = rate.dtype.type(1), rate.dtype.type(0)
    theta, kappa = rate[at, h], kept[at, h] if kept.size else one
    eta = drag[at, h] if drag.size else zero
    p, sign = (zero - (one - eta) * theta, one) if of_steps else (one - eta, zero - theta)
    return p, sign, kappa, eta


@jit
def _unpace(
    rate: Array, drag: Array, drate: Array, dkept: Array, ddrag: Array, at: int, h: int, of_steps: int, gp: float,
    sums: Array, s: int,
) -> None:  # fmt: skip
    """Add the gradients of rate, decay and drag; `sums[s]` are those of s, kappa and eta, and of rho."""
    one, theta = rate.dtype.type(1), rate[at, h]
    eta = drag[at, h] if drag.size else rate.dtype.type(0)
    if dkept.size:
        dkept[at, h] = sums[s, 1]
    drate[at, h] = -gp * (one - eta) if of_steps else -sums[s, 0]
    if drag.size:
        ddrag[at, h] = sums[s, 2] + (gp * theta if of_steps else -gp)


@jit
def _shares(share: Array, s: int, p: float, trust: Array, pair: int, h: int, old: int, young: int, window: int) -> None:
    """Write p w_j of the pairs from `old` to before `young`."""
    for j in range(old, young):
        share[s, j] = p * trust[pair + j, h] / share.dtype.type(window) if trust.size else p


@jit
def _weights_row(out: Array, A: Array, h: int, F: Array, f: int, place: int, size: int, reach: Any, kind: int) -> None:
    """Write a row of W(A + F)."""
    for c in range(size):
        out[0, c] = reach * (A[h, place + c] + F[f, place + c])
    if kind == SOFTMAX:
        largest = out[0, 0]
        for c in range(1, size):
            largest = max(largest, out[0, c])
        if out.itemsize == 4:
            for c in range(size):
                out[0, c] = _expm1(out[0, c] - largest)
        else:
            for c in range(size):
                out[0, c] = np.expm1(out[0, c] - largest)
        mean = out.dtype.type(0)
        for c in range(size):
            mean += out[0, c]
        mean /= out.dtype.type(size)
        by = out.dtype.type(1) / (out.dtype.type(1) + mean)
        for c in range(size):
            out[0, c] = (out[0, c] - mean) * by


@jit
def _effective(
    now: Array, reach: Array, A: Array, h: int, F: Array, f: int, shape: Array, options: Array
) -> None:  # fmt: skip
    """Write W(A + F), and what a unit of A + F counts for in it."""
    kind, one = options[0, 1], now.dtype.type(1)
    row = np.empty((1, now.shape[1]), now.dtype)
    for layer in range(len(shape)):
        R, C, place = shape[layer, 0], shape[layer, 1], shape[layer, 2]
        reach[0, layer] = one
        if kind == L4:
            total = now.dtype.type(EPS)
            for j in range(place, place + R * C):
                square = (A[h, j] + F[f, j]) * (A[h, j] + F[f, j])
                total += square * square
            reach[0, layer] = one / np.sqrt(total)
        for r in range(R):
            _weights_row(row, A, h, F, f, place + r * C, C, reach[0, layer], kind)
            for c in range(C):
                now[0, place + r * C + c] = row[0, c]


@jit
def _ineffective(
    gnow: Array, greach: Array, reach: Array, now: Array, A: Array, h: int, F: Array, dA: Array, gF: Array, row: int,
    shape: Array, options: Array,
) -> None:  # fmt: skip
    """Add the gradients of A and F through W(A + F)."""
    kind, one, two = options[0, 1], now.dtype.type(1), now.dtype.type(2)
    for layer in range(len(shape)):
        R, C, place, held = shape[layer, 0], shape[layer, 1], shape[layer, 2], reach[0, layer]
        by = now.dtype.type(0)
        if kind == L4:
            along = greach[0, layer]
            for j in range(place, place + R * C):
                along += gnow[0, j] * (A[h, j] + F[0, j])
            by = two * along * held * held * held
        for r in range(R):
            at, mean = place + r * C, now.dtype.type(0)
            if kind == SOFTMAX:
                for c in range(C):
                    mean += gnow[0, at + c] * (now[0, at + c] + one)
                mean /= now.dtype.type(C)
            for c in range(C):
                g = gnow[0, at + c]
                if kind == L4:
                    base = A[h, at + c] + F[0, at + c]
                    g = held * g - by * base * base * base
                elif kind == SOFTMAX:
                    g = (now[0, at + c] + one) * (g - mean)
                dA[row, at + c] += g
                gF[row, at + c] += g


@jit
def _step(
    D: Array, M: Array, m: int, F: Array, f: int, A: Array, h: int,
    kappa: float, eta: float, sign: float, rho: Any, share: Array, old: int, young: int, X: Array, d: Array,
    XQ: Array, ZQ: Array, s: int, raised: Array, means: Array, kept: int, shape: Array,
) -> None:  # fmt: skip
    """Bring row m of D and M to after a step, and write the outputs of all layers at XQ[s] into ZQ[s].

    Of the parametrisation softmax, which with e = exp(w - max w) - 1 is (e - mean e) / (1 + mean e): row `kept` of
    `raised` holds e, that of `means` the mean.
    """
    one, size = D.dtype.type(1), D.dtype.type
    for layer in range(len(shape)):
        R, C, place, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        asked = one - one
        for c in range(C):
            asked += XQ[s, x0 + c]
        for r in range(R):
            at, largest = place + r * C, size(-np.inf)
            if M.size:
                for c in range(C):
                    M[m, at + c] *= eta
                for j in range(old, young):
                    by = share[s, j] * d[j, z0 + r]
                    for c in range(C):
                        M[m, at + c] += by * X[j, x0 + c]
                for c in range(C):
                    D[m, at + c] = kappa * D[m, at + c] + sign * M[m, at + c]
            else:
                for c in range(C):
                    D[m, at + c] *= kappa
                for j in range(old, young):
                    by = sign * share[s, j] * d[j, z0 + r]
                    for c in range(C):
                        D[m, at + c] += by * X[j, x0 + c]
            for c in range(C):
                e = A[h, at + c] + F[f, at + c] + rho * (D[m, at + c] - F[f, at + c])
                raised[kept, at + c] = e
                largest = max(largest, e)
            mean, total = one - one, one - one
            if raised.itemsize == 4:
                for c in range(C):
                    e = _expm1(raised[kept, at + c] - largest)
                    raised[kept, at + c] = e
                    mean += e
                    total += e * XQ[s, x0 + c]
            else:
                for c in range(C):
                    e = np.expm1(raised[kept, at + c] - largest)
                    raised[kept, at + c] = e
                    mean += e
                    total += e * XQ[s, x0 + c]
            mean /= size(C)
            means[kept, z0 + r] = mean
            ZQ[s, z0 + r] = (total - mean * asked) / (one + mean)
        _bend(XQ, ZQ, s, layer, shape)


@jit
def _bend(XQ: Array, ZQ: Array, s: int, layer: int, shape: Array) -> None:
    """Write the inputs of the layer above."""
    if layer + 1 < len(shape):
        R, z0, x0, one = shape[layer, 0], shape[layer, 4], shape[layer + 1, 3], ZQ.dtype.type(1)
        for r in range(R):
            XQ[s, x0 + r] = ZQ[s, z0 + r] * _sigmoid(ZQ[s, z0 + r], ZQ)
        if shape[layer + 1, 1] > R:
            XQ[s, x0 + R] = one


@jit
def _unbend(gz: Array, gx: Array, ZQ: Array, s: int, layer: int, shape: Array) -> None:
    """Write the gradients of the outputs of the layer below from those of this one's inputs."""
    if layer:
        below, x0, one = shape[layer - 1, 4], shape[layer, 3], ZQ.dtype.type(1)
        for r in range(shape[layer - 1, 0]):
            z = ZQ[s, below + r]
            sigma = _sigmoid(z, ZQ)
            gz[s, below + r] = gx[s, x0 + r] * sigma * (one + z * (one - sigma))


@jit
def _bias(x: Array, row: int, shape: Array, layer: int) -> None:
    x[row, shape[layer, 3] + shape[layer, 1] - np.uint64(1)] = 1


@jit
def _unstep(
    gF: Array, gD: Array, gM: Array, row: int, D: Array, s: int, M: Array, F: Array, dA: Array,
    kappa: float, eta: float, sign: float, rho: Any, share: Array, gshare: Array, old: int, young: int,
    X: Array, d: Array, gX: Array, gd: Array, XQ: Array, ZQ: Array, gz: Array, gx: Array, raised: Array, means: Array,
    gw: Array, sums: Array, shape: Array,
) -> None:  # fmt: skip
    """Undo `_step` from state s to s + 1, with the gradient of the last layer's outputs in gz[s]."""
    one, zero = D.dtype.type(1), D.dtype.type(0)
    gs = gkappa = geta = grho = zero
    for layer in range(len(shape) - 1, -1, -1):
        R, C, place, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        for c in range(C):
            gx[s, x0 + c] = 0
        for r in range(R):
            at, g, along = place + r * C, gz[s, z0 + r], zero
            mean = means[s, z0 + r]
            g /= one + mean
            for c in range(C):
                gx[s, x0 + c] += g * (raised[s, at + c] - mean)
                along += XQ[s, x0 + c] * (raised[s, at + c] + one)
            along /= D.dtype.type(C) * (one + mean)
            for c in range(C):
                e = g * (raised[s, at + c] + one) * (XQ[s, x0 + c] - along)
                dA[row, at + c] += e
                gF[row, at + c] += (one - rho) * e
                grho += e * (D[s + 1, at + c] - F[0, at + c])
                gD[row, at + c] += rho * e
            # D and M of this row
            if M.size:
                for c in range(C):
                    g = gD[row, at + c]
                    e = gM[row, at + c] + sign * g
                    gs += g * M[s + 1, at + c]
                    gkappa += g * D[s, at + c]
                    geta += e * M[s, at + c]
                    gD[row, at + c], gM[row, at + c], gw[0, c] = kappa * g, eta * e, e
            else:
                for c in range(C):
                    g = gD[row, at + c]
                    gkappa += g * D[s, at + c]
                    gD[row, at + c], gw[0, c] = kappa * g, sign * g
            for j in range(old, young):
                along, by = zero, share[s, j] * d[j, z0 + r]
                for c in range(C):
                    along += gw[0, c] * X[j, x0 + c]
                    gX[j, x0 + c] += by * gw[0, c]
                gd[j, z0 + r] += share[s, j] * along
                gshare[s, j] += d[j, z0 + r] * along
        _unbend(gz, gx, ZQ, s, layer, shape)
    sums[s, 0], sums[s, 1], sums[s, 2], sums[s, 3] = gs, gkappa, geta, grho


# Where the weights are linear in the gradients d_j x_j^T, those of single steps are never made: after step s of a piece
#     D_s = a D + c M + sum_j pull[s, j] d_j x_j^T,   M_s = m M + sum_j run[s, j] d_j x_j^T
# with D and M from before the piece; paces[s] are kappa, eta, the sign s, rho, a, c and m.


@jit
def _grow(
    paces: Array, run: Array, pull: Array, share: Array, s: int, kappa: float, eta: float, sign: float, rho: Any,
    old: int, young: int, oldest: int,
) -> None:  # fmt: skip
    """Write the coefficients after step s."""
    one, zero = paces.dtype.type(1), paces.dtype.type(0)
    a, c, m = one, zero, one
    if s:
        a, c, m = paces[s - 1, A_], paces[s - 1, C_], paces[s - 1, M_]
    m *= eta
    paces[s, KAPPA], paces[s, ETA], paces[s, SIGN], paces[s, RHO] = kappa, eta, sign, rho
    paces[s, A_], paces[s, C_], paces[s, M_] = kappa * a, kappa * c + sign * m, m
    for j in range(oldest, young):
        moving, pulled = zero, zero
        if s and j + 1 < young:
            moving, pulled = eta * run[s - 1, j], kappa * pull[s - 1, j]
        if j >= old:
            moving += share[s, j]
        run[s, j], pull[s, j] = moving, pulled + sign * moving


@jit
def _ungrow(
    paces: Array, run: Array, pull: Array, gpaces: Array, grun: Array, gpull: Array, gshare: Array,
    sums: Array, n: int, oldest: int, past: int,
) -> None:  # fmt: skip
    """Bring the gradients of the coefficients to those of the shares and, in `sums`, of s, kappa, eta and rho."""
    zero, one = paces.dtype.type(0), paces.dtype.type(1)
    for s in range(n - 1, -1, -1):
        kappa, eta, sign, young = paces[s, KAPPA], paces[s, ETA], paces[s, SIGN], s + past + 1
        ga, gc, gm = gpaces[s, A_], gpaces[s, C_], gpaces[s, M_]
        a, c, m = one, zero, one
        if s:
            a, c, m = paces[s - 1, A_], paces[s - 1, C_], paces[s - 1, M_]
        gm += sign * gc
        gs, gkappa, geta = gc * paces[s, M_], ga * a + gc * c, gm * m
        if s:
            gpaces[s - 1, A_] += kappa * ga
            gpaces[s - 1, C_] += kappa * gc
            gpaces[s - 1, M_] += eta * gm
        for j in range(oldest, young):
            gmoving = grun[s, j] + sign * gpull[s, j]
            gs += gpull[s, j] * run[s, j]
            gshare[s, j] = gmoving
            if s and j + 1 < young:
                gkappa += gpull[s, j] * pull[s - 1, j]
                geta += gmoving * run[s - 1, j]
                gpull[s - 1, j] += kappa * gpull[s, j]
                grun[s - 1, j] += eta * gmoving
        sums[s, 0], sums[s, 1], sums[s, 2], sums[s, 3] = gs, gkappa, geta, gpaces[s, RHO]


@jit
def _readings(
    D: Array, M: Array, row: int, F: Array, f: int, now: Array, n: int, paces: Array, pull: Array, oldest: int,
    past: int, X: Array, d: Array, XQ: Array, ZQ: Array, held: Array, reach: Array, shape: Array,
) -> None:  # fmt: skip
    """Write the outputs ZQ of all layers at the queries XQ.

    held[4 s] to held[4 s + 3] are what D, M, F and D_s - F say there, before `reach`.
    """
    zero = D.dtype.type(0)
    for layer in range(len(shape)):
        R, C, place, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        for r in range(R):
            at = place + r * C
            for s in range(n):
                own, was, still, moving = zero, zero, zero, zero
                for c in range(C):
                    x = XQ[s, x0 + c]
                    own += now[0, at + c] * x
                    was += D[row, at + c] * x
                    still += F[f, at + c] * x
                if M.size:
                    for c in range(C):
                        moving += M[row, at + c] * XQ[s, x0 + c]
                ZQ[s, z0 + r], held[4 * s, z0 + r], held[4 * s + 1, z0 + r] = own, was, moving
                held[4 * s + 2, z0 + r] = still
                held[4 * s + 3, z0 + r] = paces[s, A_] * was - still + paces[s, C_] * moving
        for s in range(n):
            for j in range(oldest, s + past + 1):
                by = zero
                for c in range(C):
                    by += X[j, x0 + c] * XQ[s, x0 + c]
                by *= pull[s, j]
                for r in range(R):
                    held[4 * s + 3, z0 + r] += by * d[j, z0 + r]
            by = paces[s, RHO] * reach[0, layer]
            for r in range(R):
                ZQ[s, z0 + r] += by * held[4 * s + 3, z0 + r]
            _bend(XQ, ZQ, s, layer, shape)


@jit
def _unreadings(
    gF: Array, gD: Array, gM: Array, row: int, D: Array, M: Array, F: Array, now: Array, dA: Array, n: int,
    paces: Array, pull: Array, gpaces: Array, gpull: Array, oldest: int, past: int, X: Array, d: Array, gX: Array,
    gd: Array, XQ: Array, ZQ: Array, held: Array, gz: Array, gx: Array, reach: Array, greach: Array, shape: Array,
) -> None:  # fmt: skip
    """Undo `_readings`, with the gradients of the last layer's outputs in `gz`; those of the queries come in `gx`."""
    one, zero = D.dtype.type(1), D.dtype.type(0)
    for layer in range(len(shape) - 1, -1, -1):
        R, C, place, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        unit = reach[0, layer]
        for s in range(n):
            a, moved, rho, by = paces[s, A_], paces[s, C_], paces[s, RHO], unit * paces[s, RHO]
            for c in range(C):
                gx[s, x0 + c] = 0
            ga, gc, grho, gunit = zero, zero, zero, zero
            for r in range(R):
                g = gz[s, z0 + r]
                ga += g * held[4 * s, z0 + r]
                gc += g * held[4 * s + 1, z0 + r]
                grho += g * held[4 * s + 3, z0 + r]
                gunit += g * ZQ[s, z0 + r]
            gpaces[s, A_] += by * ga
            gpaces[s, C_] += by * gc
            gpaces[s, RHO] += unit * grho
            greach[0, layer] += gunit / unit
            for j in range(oldest, s + past + 1):
                along, across = zero, zero
                for c in range(C):
                    along += X[j, x0 + c] * XQ[s, x0 + c]
                for r in range(R):
                    across += gz[s, z0 + r] * d[j, z0 + r]
                gpull[s, j] += by * along * across
                there = by * pull[s, j]
                for r in range(R):
                    gd[j, z0 + r] += there * along * gz[s, z0 + r]
                for c in range(C):
                    gX[j, x0 + c] += there * across * XQ[s, x0 + c]
                    gx[s, x0 + c] += there * across * X[j, x0 + c]
        for r in range(R):
            at = place + r * C
            for s in range(n):
                a, moved, rho = paces[s, A_], paces[s, C_], paces[s, RHO]
                g = gz[s, z0 + r]
                by = unit * g
                to_d, to_f, to_m = by * rho * a, by * (one - rho), by * rho * moved
                back_f = by * rho
                for c in range(C):
                    x = XQ[s, x0 + c]
                    gx[s, x0 + c] += g * now[0, at + c] + to_d * D[0, at + c] - back_f * F[0, at + c]
                    dA[row, at + c] += by * x
                    gD[row, at + c] += to_d * x
                if M.size:
                    for c in range(C):
                        gx[s, x0 + c] += to_m * M[0, at + c]
                        gM[row, at + c] += to_m * XQ[s, x0 + c]
                if rho != one:
                    for c in range(C):
                        gF[row, at + c] += to_f * XQ[s, x0 + c]
        for s in range(n):
            _unbend(gz, gx, ZQ, s, layer, shape)


@jit
def _change(
    D: Array, M: Array, row: int, paces: Array, run: Array, pull: Array, n: int, oldest: int, past: int, X: Array,
    d: Array, shape: Array,
) -> None:  # fmt: skip
    """Bring D and M to after the piece."""
    last = n - 1
    a, moved, keep = paces[last, A_], paces[last, C_], paces[last, M_]
    for layer in range(len(shape)):
        R, C, place, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        for r in range(R):
            at = place + r * C
            if M.size:
                for c in range(C):
                    moving = M[row, at + c]
                    D[row, at + c] = a * D[row, at + c] + moved * moving
                    M[row, at + c] = keep * moving
                for j in range(oldest, past + n):
                    by, ran = pull[last, j] * d[j, z0 + r], run[last, j] * d[j, z0 + r]
                    for c in range(C):
                        D[row, at + c] += by * X[j, x0 + c]
                        M[row, at + c] += ran * X[j, x0 + c]
            else:
                for c in range(C):
                    D[row, at + c] *= a
                for j in range(oldest, past + n):
                    by = pull[last, j] * d[j, z0 + r]
                    for c in range(C):
                        D[row, at + c] += by * X[j, x0 + c]


@jit
def _unchange(
    gD: Array, gM: Array, row: int, D: Array, M: Array, paces: Array, run: Array, pull: Array, gpaces: Array,
    grun: Array, gpull: Array, n: int, oldest: int, past: int, X: Array, d: Array, gX: Array, gd: Array, shape: Array,
) -> None:  # fmt: skip
    """Undo `_change`; the gradients of the coefficients begin here."""
    zero, last = D.dtype.type(0), n - 1
    for s in range(n):
        _fill(gpaces, s, 0)
        _fill(grun, s, 0)
        _fill(gpull, s, 0)
    a, moved, keep = paces[last, A_], paces[last, C_], paces[last, M_]
    ga, gc, gm = zero, zero, zero
    for layer in range(len(shape)):
        R, C, place, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        for r in range(R):
            at = place + r * C
            for j in range(oldest, past + n):
                along, ran = zero, zero
                by, too = pull[last, j] * d[j, z0 + r], run[last, j] * d[j, z0 + r]
                for c in range(C):
                    along += gD[row, at + c] * X[j, x0 + c]
                    gX[j, x0 + c] += by * gD[row, at + c]
                if M.size:
                    for c in range(C):
                        ran += gM[row, at + c] * X[j, x0 + c]
                        gX[j, x0 + c] += too * gM[row, at + c]
                gd[j, z0 + r] += pull[last, j] * along + run[last, j] * ran
                gpull[last, j] += d[j, z0 + r] * along
                grun[last, j] += d[j, z0 + r] * ran
            if M.size:
                for c in range(C):
                    g, e = gD[row, at + c], gM[row, at + c]
                    ga += g * D[0, at + c]
                    gc += g * M[0, at + c]
                    gm += e * M[0, at + c]
                    gD[row, at + c], gM[row, at + c] = a * g, moved * g + keep * e
            else:
                for c in range(C):
                    ga += gD[row, at + c] * D[0, at + c]
                    gD[row, at + c] *= a
    gpaces[last, A_], gpaces[last, C_], gpaces[last, M_] = ga, gc, gm


@jit
def _unit(z: Array, row: int, z0: Any, V: Any, spare: Array, to: int) -> Any:
    """Write (z - mean) / deviation into a row of `spare`; return 1 / deviation."""
    mean, square = z.dtype.type(0), z.dtype.type(0)
    for r in range(V):
        mean += z[row, z0 + r]
    mean /= z.dtype.type(V)
    for r in range(V):
        spare[to, r] = z[row, z0 + r] - mean
        square += spare[to, r] * spare[to, r]
    inverse: float = z.dtype.type(1) / np.sqrt(square / z.dtype.type(V) + z.dtype.type(NORM_EPS))
    for r in range(V):
        spare[to, r] *= inverse
    return inverse


@jit
def _read(y: Array, at: int, z: Array, row: int, z0: int, gamma: Array, beta: Array, h: int) -> None:
    """Write y = LN(z), or z."""
    V = np.uint64(y.shape[1])
    if gamma.size:
        _unit(z, row, z0, V, y, at)
        for r in range(V):
            y[at, r] = y[at, r] * gamma[h, r] + beta[h, r]
    else:
        for r in range(V):
            y[at, r] = z[row, z0 + r]


@jit
def _unread(
    gz: Array, z: Array, s: int, dy: Array, at: int, z0: int, gamma: Array, dgamma: Array, dbeta: Array,
    h: int, to: int, spare: Array,
) -> None:  # fmt: skip
    """Write the gradient of z into row s, and add those of the norm."""
    V = np.uint64(dy.shape[1])
    if not gamma.size:
        for r in range(V):
            gz[s, z0 + r] = dy[at, r]
        return
    inverse = _unit(z, s, z0, V, spare, 0)
    mean, along = dy.dtype.type(0), dy.dtype.type(0)
    for r in range(V):
        dgamma[to, r] += dy[at, r] * spare[0, r]
        dbeta[to, r] += dy[at, r]
        g = dy[at, r] * gamma[h, r]
        mean += g
        along += g * spare[0, r]
    mean, along = mean / dy.dtype.type(V), along / dy.dtype.type(V)
    for r in range(V):
        gz[s, z0 + r] = inverse * (dy[at, r] * gamma[h, r] - mean - spare[0, r] * along)


@jit
def _descend_all(
    oldest: int, end: int, b: int, t: int, h: int, k: Array, v: Array, limit: Array, X: Array, Z: Array,
    D: Array, G: Array, facts: Array, now: Array, reach: Array, gamma: Array, beta: Array, spare: Array, shape: Array,
    options: Array, pairs: int, H: int,
) -> None:  # fmt: skip
    """Write the gradients of the pairs from `oldest` to before `end`."""
    for j in range(oldest, end):
        at = (b * pairs + t + j) * H + h
        _copy(X, j, k, at)
        if shape[0, 1] > k.shape[1]:
            _bias(X, j, shape, 0)
        _descend(
            j, at, b * pairs + t + j, h, v, limit, X, Z, D, G, facts, now, reach, gamma, beta, spare, shape, options
        )


@jit
def _descend(
    j: int, at: int, pair: int, h: int, v: Array, limit: Array, X: Array, Z: Array, D: Array, G: Array, facts: Array,
    now: Array, reach: Array, gamma: Array, beta: Array, spare: Array, shape: Array, options: Array,
) -> None:  # fmt: skip
    """Write inputs and outputs of all layers at pair j, and the gradients, unscaled and scaled."""
    L, V, one, zero = len(shape), shape[-1, 0], v.dtype.type(1), v.dtype.type(0)
    for layer in range(L):
        R, C, place, x0, z0 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        for r in range(R):
            total = zero
            for c in range(C):
                total += now[0, place + r * C + c] * X[j, x0 + c]
            Z[j, z0 + r] = total
        if layer + 1 < L:
            for r in range(R):
                X[j, shape[layer + 1, 3] + r] = Z[j, z0 + r] * _sigmoid(Z[j, z0 + r], Z)
            if shape[layer + 1, 1] > R:
                _bias(X, j, shape, layer + 1)

    # the error, its slope, and its way through the norm: spare 0 is (z - mean) / deviation, 1 the slope
    z0, steep, inverse = shape[L - 1, 4], one, one
    if gamma.size:
        inverse = _unit(Z, j, z0, V, spare, 0)
        for r in range(V):
            spare[1, r] = spare[0, r] * gamma[h, r] + beta[h, r] - v[at, r]
    else:
        for r in range(V):
            spare[1, r] = Z[j, z0 + r] - v[at, r]
    _slope(spare, V, options[0, 0], limit[pair, h] if limit.size else one)
    if gamma.size:
        mean, along, largest = zero, zero, zero
        for r in range(V):
            back = spare[1, r] * gamma[h, r]
            mean += back
            along += back * spare[0, r]
            largest = max(largest, gamma[h, r] * gamma[h, r])
        mean, along, steep = mean / v.dtype.type(V), along / v.dtype.type(V), inverse * inverse * largest
        for r in range(V):
            G[j, z0 + r] = (spare[1, r] * gamma[h, r] - mean - spare[0, r] * along) * inverse
    else:
        for r in range(V):
            G[j, z0 + r] = spare[1, r]
    for layer in range(L - 2, -1, -1):
        _back(G, j, Z, X, now, shape, layer)

    # the bound
    total, share, gain, end = zero, one, one, v.dtype.type(TINY)
    for r in range(V):
        end += G[j, z0 + r] * G[j, z0 + r]
    if options[0, 3]:
        for layer in range(L):
            along = _square(G, j, shape[layer, 4], shape[layer, 0]) * _square(X, j, shape[layer, 3], shape[layer, 1])
            total += reach[0, layer] * along
        gain = steep * total / end
        share = one / max(gain, one)
    facts[j, 0], facts[j, 1], facts[j, 2], facts[j, 3], facts[j, 4] = share, gain, steep, total, end
    for r in range(D.shape[1]):
        D[j, r] = share * G[j, r]


@jit
def _square(x: Array, row: int, first: Any, size: Any) -> Any:
    total = x.dtype.type(0)
    for r in range(size):
        total += x[row, first + r] * x[row, first + r]
    return total


@jit
def _slope(spare: Array, V: int, loss: int, limit: float) -> None:
    """Bring the error in row 1 to its slope, and leave the error in row 2."""
    one = spare.dtype.type(1)
    for r in range(V):
        spare[2, r] = spare[1, r]
    if loss == L3:
        for r in range(V):
            size = abs(spare[2, r])
            spare[1, r] = spare[2, r] * min(size, one) / max(size, one)
    elif loss == HUBER:
        by = min(limit / np.sqrt(_square(spare, 2, np.uint64(0), V) + spare.dtype.type(TINY)), one)
        for r in range(V):
            spare[1, r] *= by


@jit
def _back(G: Array, j: int, Z: Array, X: Array, now: Array, shape: Array, layer: int) -> None:
    """Write d_l = (W^T d_{l+1}) silu'(z_l)."""
    R, z0, one = shape[layer, 0], shape[layer, 4], G.dtype.type(1)
    C, place, above = shape[layer + 1, 1], shape[layer + 1, 2], shape[layer + 1, 4]
    for c in range(R):
        G[j, z0 + c] = 0
    for r in range(shape[layer + 1, 0]):
        by = G[j, above + r]
        for c in range(R):
            G[j, z0 + c] += by * now[0, place + r * C + c]
    for c in range(R):
        sigma = _sigmoid(Z[j, z0 + c], Z)
        G[j, z0 + c] *= sigma * (one + Z[j, z0 + c] - X[j, shape[layer + 1, 3] + c])


@jit
def _undescend(
    j: int, at: int, pair: int, h: int, row: int, v: Array, limit: Array, X: Array, Z: Array, D: Array, G: Array,
    facts: Array, now: Array, reach: Array, gamma: Array, beta: Array, gd: Array, gX: Array, gnow: Array, greach: Array,
    dk: Array, dv: Array, dlimit: Array, dgamma: Array, dbeta: Array, spare: Array, shape: Array, options: Array,
) -> None:  # fmt: skip
    """Undo `_descend`: from the gradients of d and x add those of k, v, the weights, the norm and the limit."""
    L, V, one, zero, two = len(shape), shape[-1, 0], v.dtype.type(1), v.dtype.type(0), v.dtype.type(2)
    share, gain, steep, total, end = facts[j, 0], facts[j, 1], facts[j, 2], facts[j, 3], facts[j, 4]
    z0, units, gsteep = shape[L - 1, 4], D.shape[1], zero
    along = zero
    for r in range(units):
        along += gd[j, r] * G[j, r]
        gd[j, r] *= share
    if options[0, 3] and gain > 1:
        ggain = -along * share * share
        gsteep, gtotal, gend = ggain * total / end, ggain * steep / end, -ggain * gain / end
        for layer in range(L):
            lengths = _square(G, j, shape[layer, 4], shape[layer, 0]), _square(X, j, shape[layer, 3], shape[layer, 1])
            greach[0, layer] += gtotal * lengths[0] * lengths[1]
            by = two * gtotal * reach[0, layer]
            for r in range(shape[layer, 4], shape[layer, 4] + shape[layer, 0]):
                gd[j, r] += by * lengths[1] * G[j, r]
            for c in range(shape[layer, 3], shape[layer, 3] + shape[layer, 1]):
                gX[j, c] += by * lengths[0] * X[j, c]
        for r in range(z0, z0 + V):
            gd[j, r] += two * gend * G[j, r]

    # d = u silu'(z), u = W^T d of the layer above: spare 3 is u, 4 its gradient, 5 that of silu'
    for layer in range(L - 1):
        R, below = shape[layer, 0], shape[layer, 4]
        C, place, above = shape[layer + 1, 1], shape[layer + 1, 2], shape[layer + 1, 4]
        for c in range(R):
            spare[3, c] = 0
        for r in range(shape[layer + 1, 0]):
            by = G[j, above + r]
            for c in range(R):
                spare[3, c] += by * now[0, place + r * C + c]
        for c in range(R):
            sigma = _sigmoid(Z[j, below + c], Z)
            spare[4, c] = gd[j, below + c] * sigma * (one + Z[j, below + c] * (one - sigma))
            spare[5, below + c] = gd[j, below + c] * spare[3, c]
        for r in range(shape[layer + 1, 0]):
            by, to = G[j, above + r], zero
            for c in range(R):
                to += now[0, place + r * C + c] * spare[4, c]
                gnow[0, place + r * C + c] += by * spare[4, c]
            gd[j, above + r] += to

    # the norm and the slope: spare 0 is (z - mean) / deviation, 1 the slope, 2 the error, 6 and 7 gradients
    if gamma.size:
        inverse = _unit(Z, j, z0, V, spare, 0)
        for r in range(V):
            spare[1, r] = spare[0, r] * gamma[h, r] + beta[h, r] - v[at, r]
    else:
        inverse = one
        for r in range(V):
            spare[1, r] = Z[j, z0 + r] - v[at, r]
    bound = limit[pair, h] if limit.size else one
    _slope(spare, V, options[0, 0], bound)
    ginverse, size = zero, v.dtype.type(V)
    if gamma.size:
        mean, along, largest, ties = zero, zero, zero, zero
        for r in range(V):
            back = spare[1, r] * gamma[h, r]
            mean += back
            along += back * spare[0, r]
            largest = max(largest, gamma[h, r] * gamma[h, r])
        gmean, galong = zero, zero
        for r in range(V):
            g = gd[j, z0 + r] * inverse
            gmean += g
            galong += g * spare[0, r]
            ginverse += gd[j, z0 + r] * G[j, z0 + r] / inverse
            ties += one if gamma[h, r] * gamma[h, r] == largest else zero
        mean, along, gmean, galong = mean / size, along / size, gmean / size, galong / size
        for r in range(V):
            g, back = gd[j, z0 + r] * inverse, spare[1, r] * gamma[h, r]
            gback = g - gmean - spare[0, r] * galong
            spare[7, r] = -g * along - back * galong  # of (z - mean) / deviation
            dgamma[row, r] += gback * spare[1, r]
            spare[6, r] = gback * gamma[h, r]
            if gamma[h, r] * gamma[h, r] == largest:
                dgamma[row, r] += two * gamma[h, r] * gsteep * inverse * inverse / ties
        ginverse += two * gsteep * inverse * largest
    else:
        for r in range(V):
            spare[6, r] = gd[j, z0 + r]
    if options[0, 0] == L3:
        for r in range(V):
            spare[6, r] *= two * abs(spare[2, r]) if abs(spare[2, r]) < 1 else zero
    elif options[0, 0] == HUBER:
        length = np.sqrt(_square(spare, 2, np.uint64(0), V) + v.dtype.type(TINY))
        if bound < length:
            along = zero
            for r in range(V):
                along += spare[6, r] * spare[2, r]
            dlimit[pair, h] += along / length
            by = along * bound / (length * length * length)
            for r in range(V):
                spare[6, r] = spare[6, r] * bound / length - by * spare[2, r]
    for r in range(V):
        dv[at, r] -= spare[6, r]
    if gamma.size:
        mean, by = zero, zero
        for r in range(V):
            dgamma[row, r] += spare[6, r] * spare[0, r]
            dbeta[row, r] += spare[6, r]
            spare[7, r] += spare[6, r] * gamma[h, r]
            ginverse += spare[7, r] * spare[0, r] / inverse
        by = ginverse * inverse * inverse / size
        for r in range(V):
            spare[6, r] = spare[7, r] * inverse - by * spare[0, r]
            mean += spare[6, r]
        mean /= size
        for r in range(V):
            spare[6, r] -= mean

    # the layers: gd now holds the gradients of z
    for r in range(V):
        gd[j, z0 + r] = spare[6, r]
    for layer in range(L - 1, -1, -1):
        R, C, place, x0, z1 = shape[layer, 0], shape[layer, 1], shape[layer, 2], shape[layer, 3], shape[layer, 4]
        for r in range(R):
            by = gd[j, z1 + r]
            for c in range(C):
                gnow[0, place + r * C + c] += by * X[j, x0 + c]
                gX[j, x0 + c] += by * now[0, place + r * C + c]
        if layer:
            below = shape[layer - 1, 4]
            for r in range(shape[layer - 1, 0]):
                z = Z[j, below + r]
                sigma = _sigmoid(z, Z)
                slope = sigma * (one - sigma)
                bent = slope * (two + z * (one - two * sigma))  # silu''
                gd[j, below + r] = gX[j, x0 + r] * sigma * (one + z * (one - sigma)) + spare[5, below + r] * bent
    for c in range(dk.shape[1]):
        dk[at, c] += gX[j, c]
