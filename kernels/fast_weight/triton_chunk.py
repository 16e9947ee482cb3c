r"""The fast-weight recurrence in three launches, C steps at a time in matrix form; arguments as in `reference.py`.

Notation as in `chunk.py`, for one chunk and head, with W [C, V] the values written in the end, and X = V. Where it
erases,

    A = G< * (R K^T),   (I + A) W = X - (e * R) S^T        with a rate b: R = b * K and X = b * V
    Y = (G * (Q K^T)) W + (e * Q) S^T,   S <- g S + W^T (f * K)        g is what is left of S after the chunk

    `_invert`  (I + A)^-1 of every chunk, by forward substitution: the inverses of blocks of 1, 2, 4 ... steps are
               joined in pairs, [[P, 0], [-Q L P, Q]] from those of the diagonal, P and Q, and what is below, L.
    `_states`  W, and the state before each chunk, one chunk after another; the only launch that waits for S
    `_read`    Y of every chunk

Gradients, with D that of S after the chunk:

    `_before`  dW = (G * (Q K^T))^T dY of every chunk
    `_back`    dW += (f * K) D^T,  dX = (I + A)^-T dW,  D <- g D + dY^T (e * Q) - dX^T (e * R), last chunk first
    `_within`  the rest, in which dA = -dX W^T

An erase at a key of its own is made a step of its own, which writes nothing.

Sums of log decays are taken from one step to another, not as differences, so that a factor of 0 is no NaN and a large
one costs no digits. With a decay per key channel they are formed pairwise, a few channels at a time.

Traffic: all is read two or three times, and V K / C numbers a step are kept of S, in backward as many of D.
"""

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state

from .turns import in_turns

__all__ = ["fades", "fast_weight", "lives", "passing", "states_between"]

PRECISION = "tf32x3"  # of float32 products: three on tensor cores, within 1e-6 of "ieee"
TILE = 2048  # numbers of the matrix that a program holds from chunk to chunk


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
    chunk: int = 32,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.fast_weight`, `chunk` steps at a time; the state in float32 or wider.

    `chunk` is a power of two, 16 at least, and no more is taken with a decay per key channel. Differentiable once.
    """
    if erase is not None and erase_key is not None:
        in_chunks = functools.partial(fast_weight, chunk=chunk)
        return in_turns(in_chunks, q, k, v, state, start, decay, erase, erase_key)
    inputs = (chunk, q, k, v, state, start, decay, erase, rate)
    if torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        y, end = _FastWeight.apply(*inputs)  # type: ignore[no-untyped-call]
    else:
        y, end, _ = _run(*inputs, save=False)
    return y, end


class _FastWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, chunk: int, *inputs: Any) -> tuple[Tensor, Tensor]:
        y, end, saved = _run(chunk, *inputs, save=True)
        ctx.save_for_backward(*saved)
        ctx.chunk = chunk
        return y, end

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        q, k, v, start, decay, r, rate, inverse, W, before = ctx.saved_tensors
        (B, T, H, _), dy, dstate, dv = q.shape, dy.contiguous(), own_state(dend), torch.empty_like(v)
        size, across, along = _cut(q, v, decay, ctx.chunk, before.dtype)
        N, BH, ERASES = before.shape[2], B * H, inverse is not None
        dX, after = before.new_empty(v.shape), torch.empty_like(before)
        dq, dk, ddecay, dr, drate = (None if x is None else before.new_empty(x.shape) for x in (q, k, decay, r, rate))
        _read_back[(BH * N,)](q, k, decay, start, W, before, dy, dq, dk, ddecay, dX, T, N, **along, **size)
        _states_back[(BH * triton.cdiv(v.shape[-1], across["BLOCK_V"]),)](
            q, k, decay, r, rate, start, inverse, dy, dX, dstate, after, T, N, **across, **size
        )
        _write_back[(BH * N,)](
            k, v, decay, r, rate, start, W, before, dX, after, dk, dv, ddecay, dr, drate, T, N, **along, **size,
            ERASES=ERASES,
        )  # fmt: skip
        dq, dk, ddecay, dr, drate = (None if x is None else x.to(q.dtype) for x in (dq, dk, ddecay, dr, drate))
        return None, dq, dk, dv, dstate, None, ddecay, dr, drate


def _run(
    chunk: int,
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
    """Run forward; return y, the last state and what the backward pass needs."""
    q, k, v = (x.detach().contiguous() for x in (q, k, v))
    decay, r, rate = (None if x is None else x.detach().contiguous() for x in (decay, erase, rate))
    start, y = start.contiguous().view(torch.uint8), torch.empty_like(v)
    end = own_state(state) if save else next_state(state)
    (B, T, H, _), V = q.shape, v.shape[-1]
    size, across, along = _cut(q, v, decay, chunk, end.dtype)
    C, W, inverse, BH = size["C"], v, None, B * H
    N = triton.cdiv(T, C)
    if r is not None or rate is not None:
        inverse, W = end.new_empty((B, T, H, C)), end.new_empty(v.shape)
        _invert[(BH * N,)](
            k, decay, r, rate, start, inverse, T, N, C.bit_length() - 1, BLOCK_K=along["BLOCK_K"], num_stages=1, **size
        )
    before = end.new_empty((B, H, N, *end.shape[2:]))
    _states[(BH * triton.cdiv(V, across["BLOCK_V"]),)](
        k, v, decay, r, rate, start, inverse, W, before, end, T, N, **across, **size
    )
    _read[(BH * N * triton.cdiv(V, along["BLOCK_V"]),)](q, k, decay, start, W, before, y, T, N, **along, **size)
    return y, end, (q, k, v, start, decay, r, rate, inverse, W, before)


def states_between(k: Tensor, v: Tensor, decay: Tensor | None, start: Tensor, end: Tensor, chunk: int) -> Tensor:
    """Return the states before all chunks, [B, H, N, V, K], if nothing is erased; the last one is left in `end`.

    All are contiguous, `start` in bytes; `end` holds the state before the first step.
    """
    size, across, _ = _cut(k, v, None, chunk, end.dtype)
    size["CHANNELS"] = decay is not None and decay.ndim == 4  # no pairwise terms, so chunks may be long
    T, N, (B, H, V, K) = k.shape[1], triton.cdiv(k.shape[1], size["C"]), end.shape
    before = end.new_empty((B, H, N, V, K))
    _states[(B * H * triton.cdiv(V, across["BLOCK_V"]),)](
        k, v, decay, None, None, start, None, v, before, end, T, N, **across, **size
    )
    return before


def _cut(
    q: Tensor, v: Tensor, decay: Tensor | None, chunk: int, dtype: torch.dtype
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the sizes and tiles of the matrices, for kernels across chunks and for kernels over all chunks at once.

    The former hold all columns of `TILE` numbers of the matrix. The latter use blocks of 32 rows and columns, or 16
    channels with a factor per pair of steps and channel: larger ones spill registers (seen in the code compiled for an
    H200, not in times).
    """
    H, K, V, channels = q.shape[2], q.shape[3], v.shape[3], decay is not None and decay.ndim == 4
    if chunk < 16 or chunk & (chunk - 1):
        raise ValueError(f"chunk must be a power of two, 16 or more, got {chunk}")
    block_k, block_v = max(16, triton.next_power_of_2(K)), max(16, triton.next_power_of_2(V))
    size = {
        "H": H, "K": K, "V": V, "C": max(16, min(16 if channels else chunk, triton.next_power_of_2(q.shape[1]))),
        "CHANNELS": channels, "PRECISION": "ieee" if dtype == torch.float64 else PRECISION,
    }  # fmt: skip
    across = {"BLOCK_K": block_k, "BLOCK_V": min(block_v, max(16, TILE // block_k)), "num_stages": 2,
              "num_warps": 4 if block_k < 128 else 8}  # fmt: skip
    along = {"BLOCK_K": min(block_k, 16 if channels else 32), "BLOCK_V": min(block_v, 32), "num_stages": 1}
    return size, across, along


# Below, row (b T + t) H + h is step t of head h of life b; `i` are steps of a chunk, `j` columns and `m` rows of the
# matrix. Data of steps are rows, [C, ...], of pairs of steps [C, C, ...], the later one first.


@triton.jit
def lives(start, b, n, T, C: tl.constexpr):
    """Return the life of each step of a chunk, counted from the one that came in, [C]."""
    i = tl.arange(0, C)
    flags = tl.load(start + b * T + n * C + i, mask=i < T - n * C, other=0)
    return tl.cumsum(flags.to(tl.int32), 0)


@triton.jit
def fades(decay, row, i, inside, j, H, K, like, CHANNELS: tl.constexpr):
    """Return log a of the steps `i`, [C] or [C, K], 0 where there are none."""
    if decay is None:
        a = tl.zeros([i.shape[0]], like)
    elif CHANNELS:
        here = decay + row * K + (i[:, None] * (H * K) + j[None, :])
        a = tl.load(here, mask=inside[:, None] & (j < K)[None, :], other=0).to(like)
    else:
        a = tl.load(decay + row + i * H, mask=inside, other=0).to(like)
    return a


@triton.jit
def _incoming(a, life, CHANNELS: tl.constexpr):
    """Return e, [C, 1 or K]: the decay at each step of the incoming state."""
    total = tl.cumsum(a, 0) if CHANNELS else tl.cumsum(a, 0)[:, None]
    return tl.exp(tl.where((life == 0)[:, None], total, float("-inf")))


@triton.jit
def _outgoing(decay, row, life, i, count, j, H, K, like, C: tl.constexpr, CHANNELS: tl.constexpr):
    """Return f, [C, 1 or K]: the decay at the chunk's end of a write at each step."""
    a = fades(decay, row, i + 1, (i + 1 < count) & (i + 1 < C), j, H, K, like, CHANNELS)
    total = tl.cumsum(a, 0, reverse=True) if CHANNELS else tl.cumsum(a, 0, reverse=True)[:, None]
    return tl.exp(tl.where((life == tl.max(life, 0))[:, None], total, float("-inf")))


@triton.jit
def passing(a, life, CHANNELS: tl.constexpr):
    """Return g, a number or [1, K]: the decay at the chunk's end of the incoming state."""
    total = tl.sum(a, 0)[None, :] if CHANNELS else tl.sum(a, 0)
    return tl.exp(tl.where(tl.max(life, 0) == 0, total, float("-inf")))


@triton.jit
def _visible(life, C: tl.constexpr):
    """Return the pairs of a step and one before it, or itself, that share a life."""
    i = tl.arange(0, C)
    return (life[:, None] == life[None, :]) & (i[:, None] >= i[None, :])


@triton.jit
def _later(life, C: tl.constexpr):
    """Return the same pairs, the former step first."""
    i = tl.arange(0, C)
    return (life[:, None] == life[None, :]) & (i[:, None] <= i[None, :])


@triton.jit
def _left(a, pairs, C: tl.constexpr, CHANNELS: tl.constexpr):
    """Return G, [C, C, 1 or K]."""
    i = tl.arange(0, C)
    if CHANNELS:
        total = tl.cumsum(tl.where((i[:, None] > i[None, :])[:, :, None], a[:, None, :], 0.0), 0)
        G = tl.exp(tl.where(pairs[:, :, None], total, float("-inf")))
    else:
        total = tl.cumsum(tl.where(i[:, None] > i[None, :], a[:, None], 0.0), 0)
        G = tl.exp(tl.where(pairs, total, float("-inf")))
    return G


@triton.jit
def _times(X, Y, PRECISION: tl.constexpr):
    return tl.dot(X, Y, input_precision=PRECISION, out_dtype=X.dtype)


@triton.jit
def _mix(G, X, pairs, PRECISION: tl.constexpr):
    """Return G X; a row of X that is not finite reaches only the steps that depend on it."""
    broken = tl.sum(X - X, 1)  # 0, or NaN
    reached = tl.sum(tl.where(pairs, broken[None, :], 0.0), 1)
    return _times(G, tl.where(X - X == 0, X, 0.0), PRECISION) + reached[:, None]


@triton.jit
def _score(rows, columns, G, pairs, CHANNELS: tl.constexpr, PRECISION: tl.constexpr):
    """Return G * (rows columns^T), [C, C]."""
    if CHANNELS:
        score = tl.sum(tl.where(pairs[:, :, None], G * rows[:, None, :] * columns[None, :, :], 0.0), 2)
    else:
        score = tl.where(pairs, G * _times(rows, tl.trans(columns), PRECISION), 0.0)
    return score


@triton.jit
def _score_back(rows, columns, G, d, pairs, later, CHANNELS: tl.constexpr, PRECISION: tl.constexpr):
    """Return the gradients of `_score`, of rows, columns and log a, from d, that of the score / G, 0 if not visible."""
    i = tl.arange(0, d.shape[0])
    between = i[:, None] > i[None, :]
    if CHANNELS:
        near = tl.where(pairs[:, :, None], G * columns[None, :, :], 0.0)
        far = tl.where(pairs[:, :, None], rows[:, None, :] * d[:, :, None], 0.0)
        drows, dcolumns = tl.sum(near * d[:, :, None], 1), tl.sum(G * far, 0)
        da = tl.sum(tl.where(between[:, :, None], tl.cumsum(near * far, 0, reverse=True), 0.0), 1)
    else:
        drows, dcolumns = _mix(G * d, columns, pairs, PRECISION), _mix(tl.trans(G * d), rows, later, PRECISION)
        flow = tl.cumsum(_score(rows, columns, G, pairs, CHANNELS, PRECISION) * d, 0, reverse=True)
        da = tl.sum(tl.where(between, flow, 0.0), 1)
    return drows, dcolumns, da


@triton.jit
def _load(x, row, i, count, j, H, K, like):
    """Return the steps of a chunk as rows, 0 where there are none."""
    inside = (i < count)[:, None] & (j < K)[None, :]
    return tl.load(x + row * K + (i[:, None] * (H * K) + j[None, :]), mask=inside, other=0).to(like)


@triton.jit
def _store(x, row, i, count, j, H, K, value):
    inside = (i < count)[:, None] & (j < K)[None, :]
    tl.store(x + row * K + (i[:, None] * (H * K) + j[None, :]), value, mask=inside)


@triton.jit
def _gate(x, row, i, count, H, like):
    return tl.load(x + row + i * H, mask=i < count, other=0).to(like)[:, None]


@triton.jit
def _block(x, piece, m, j, V, K):
    """Return a part of the state beside a chunk."""
    inside = (m < V)[:, None] & (j < K)[None, :]
    return tl.load(x + piece * V * K + (m[:, None] * K + j[None, :]), mask=inside, other=0)


@triton.jit
def _erase(r, rate, key, row, i, count, j, H, K, like):
    """Return R."""
    if rate is None:
        erase = _load(r, row, i, count, j, H, K, like)
    else:
        erase = _gate(rate, row, i, count, H, like) * key
    return erase


@triton.jit
def _invert(
    k, decay, r, rate, start, inverse, T, N, levels,
    H, K, V, C: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    head, n = (tl.program_id(0) // N).to(tl.int64), tl.program_id(0) % N
    b, h, i = head // H, head % H, tl.arange(0, C)
    like = inverse.dtype.element_ty
    life, count = lives(start, b, n, T, C), T - n * C
    row = (b * T + n * C) * H + h
    pairs = _visible(life, C)
    A = tl.zeros([C, C], like)
    for first in range(0, K, BLOCK_K):
        j = first + tl.arange(0, BLOCK_K)
        a = fades(decay, row, i, i < count, j, H, K, like, CHANNELS)
        key = _load(k, row, i, count, j, H, K, like)
        erase = _erase(r, rate, key, row, i, count, j, H, K, like)
        A += _score(erase, key, _left(a, pairs, C, CHANNELS), pairs, CHANNELS, PRECISION)
    P = tl.where(i[:, None] == i[None, :], 1.0, 0.0).to(like)
    for level in range(levels):
        joined = (i[:, None] > i[None, :]) & (((i[:, None] ^ i[None, :]) >> level) == 1)
        P -= _mix(P, _mix(tl.where(joined, A, 0.0), P, pairs, PRECISION), pairs, PRECISION)
    _store(inverse, row, i, count, i, H, C, tl.where(pairs, P, 0.0))


@triton.jit
def _states(
    k, v, decay, r, rate, start, inverse, W, before, end, T, N,
    H, K, V, C: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    tiles = (V + BLOCK_V - 1) // BLOCK_V
    head, part = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    b, h = head // H, head % H
    like = before.dtype.element_ty
    i, j, m = tl.arange(0, C), tl.arange(0, BLOCK_K), part * BLOCK_V + tl.arange(0, BLOCK_V)
    own, inside = m[:, None] * K + j[None, :], (m < V)[:, None] & (j < K)[None, :]
    S = tl.load(end + head * V * K + own, mask=inside, other=0)
    for n in range(N):
        tl.store(before + (head * N + n) * V * K + own, S, mask=inside)
        life, count = lives(start, b, n, T, C), T - n * C
        row, last = (b * T + n * C) * H + h, tl.max(life, 0)
        a = fades(decay, row, i, i < count, j, H, K, like, CHANNELS)
        e = _incoming(a, life, CHANNELS)
        f = _outgoing(decay, row, life, i, count, j, H, K, like, C, CHANNELS)
        g = passing(a, life, CHANNELS)
        key, write = _load(k, row, i, count, j, H, K, like), _load(v, row, i, count, m, H, V, like)
        if inverse is not None:
            pairs = _visible(life, C)
            erase = _erase(r, rate, key, row, i, count, j, H, K, like)
            if rate is not None:
                write *= _gate(rate, row, i, count, H, like)
            write -= tl.where((life == 0)[:, None], _times(e * erase, tl.trans(S), PRECISION), 0.0)
            P = _load(inverse, row, i, count, i, H, C, like)
            write = _mix(P, write, pairs, PRECISION)
            _store(W, row, i, count, m, H, V, write)
        kept = (life == last)[:, None]
        write, key = tl.where(kept, write, 0.0), tl.where(kept, f * key, 0.0)
        S = tl.where(last == 0, g * S, 0.0) + _times(tl.trans(write), key, PRECISION)
    tl.store(end + head * V * K + own, S, mask=inside)


@triton.jit
def _read(
    q, k, decay, start, W, before, y, T, N,
    H, K, V, C: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    tiles = (V + BLOCK_V - 1) // BLOCK_V
    piece, part = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    head, n = piece // N, piece % N
    like = before.dtype.element_ty
    b, h = head // H, head % H
    i, m = tl.arange(0, C), part * BLOCK_V + tl.arange(0, BLOCK_V)
    life, count = lives(start, b, n, T, C), T - n * C
    row = (b * T + n * C) * H + h
    pairs = _visible(life, C)
    P, Y = tl.zeros([C, C], like), tl.zeros([C, BLOCK_V], like)
    for first in range(0, K, BLOCK_K):
        j = first + tl.arange(0, BLOCK_K)
        a = fades(decay, row, i, i < count, j, H, K, like, CHANNELS)
        e = _incoming(a, life, CHANNELS)
        query, key = _load(q, row, i, count, j, H, K, like), _load(k, row, i, count, j, H, K, like)
        P += _score(query, key, _left(a, pairs, C, CHANNELS), pairs, CHANNELS, PRECISION)
        S = _block(before, piece, m, j, V, K)
        Y += tl.where((life == 0)[:, None], _times(e * query, tl.trans(S), PRECISION), 0.0)
    _store(y, row, i, count, m, H, V, Y + _mix(P, _load(W, row, i, count, m, H, V, like), pairs, PRECISION))


@triton.jit
def _read_back(
    q, k, decay, start, W, before, dy, dq, dk, ddecay, dX, T, N,
    H, K, V, C: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    piece = tl.program_id(0).to(tl.int64)
    head, n = piece // N, piece % N
    like = before.dtype.element_ty
    b, h, i = head // H, head % H, tl.arange(0, C)
    life, count = lives(start, b, n, T, C), T - n * C
    row, pairs, later = (b * T + n * C) * H + h, _visible(life, C), _later(life, C)
    P, dP, da = tl.zeros([C, C], like), tl.zeros([C, C], like), tl.zeros([C], like)
    for top in range(0, V, BLOCK_V):
        m = top + tl.arange(0, BLOCK_V)
        out, write = _load(dy, row, i, count, m, H, V, like), _load(W, row, i, count, m, H, V, like)
        dP += _times(out, tl.trans(write), PRECISION)
    dP = tl.where(pairs, dP, 0.0)  # the gradient of P / G
    for first in range(0, K, BLOCK_K):
        j = first + tl.arange(0, BLOCK_K)
        a = fades(decay, row, i, i < count, j, H, K, like, CHANNELS)
        e = _incoming(a, life, CHANNELS)
        query, key = _load(q, row, i, count, j, H, K, like), _load(k, row, i, count, j, H, K, like)
        dquery = tl.zeros([C, BLOCK_K], like)
        for top in range(0, V, BLOCK_V):
            m = top + tl.arange(0, BLOCK_V)
            S = _block(before, piece, m, j, V, K)
            dquery += _times(_load(dy, row, i, count, m, H, V, like), S, PRECISION)
        dquery = tl.where((life == 0)[:, None], e * dquery, 0.0)
        begun, G = dquery * query, _left(a, pairs, C, CHANNELS)
        P += _score(query, key, G, pairs, CHANNELS, PRECISION)
        more, dkey, among = _score_back(query, key, G, dP, pairs, later, CHANNELS, PRECISION)
        _store(dq, row, i, count, j, H, K, dquery + more)
        _store(dk, row, i, count, j, H, K, dkey)
        if CHANNELS:
            _store(ddecay, row, i, count, j, H, K, among + tl.cumsum(begun, 0, reverse=True))
        else:
            da += among + tl.cumsum(tl.sum(begun, 1), 0, reverse=True)
    if decay is not None and not CHANNELS:
        tl.store(ddecay + row + i * H, da, mask=i < count)
    for top in range(0, V, BLOCK_V):
        m = top + tl.arange(0, BLOCK_V)
        out = _load(dy, row, i, count, m, H, V, like)
        _store(dX, row, i, count, m, H, V, _mix(tl.trans(P), out, later, PRECISION))


@triton.jit
def _states_back(
    q, k, decay, r, rate, start, inverse, dy, dX, dstate, after, T, N,
    H, K, V, C: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    tiles = (V + BLOCK_V - 1) // BLOCK_V
    head, part = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    b, h = head // H, head % H
    like = after.dtype.element_ty
    i, j, m = tl.arange(0, C), tl.arange(0, BLOCK_K), part * BLOCK_V + tl.arange(0, BLOCK_V)
    own, inside = m[:, None] * K + j[None, :], (m < V)[:, None] & (j < K)[None, :]
    D = tl.load(dstate + head * V * K + own, mask=inside, other=0)
    for ago in range(N):
        n = N - 1 - ago
        tl.store(after + (head * N + n) * V * K + own, D, mask=inside)
        life, count = lives(start, b, n, T, C), T - n * C
        row, last, carried = (b * T + n * C) * H + h, tl.max(life, 0), (life == 0)[:, None]
        a = fades(decay, row, i, i < count, j, H, K, like, CHANNELS)
        e = _incoming(a, life, CHANNELS)
        f = _outgoing(decay, row, life, i, count, j, H, K, like, C, CHANNELS)
        g = passing(a, life, CHANNELS)
        key, query = _load(k, row, i, count, j, H, K, like), _load(q, row, i, count, j, H, K, like)
        out, dw = _load(dy, row, i, count, m, H, V, like), _load(dX, row, i, count, m, H, V, like)
        dw += tl.where((life == last)[:, None], _times(f * key, tl.trans(D), PRECISION), 0.0)
        D = tl.where(last == 0, g * D, 0.0)
        D += _times(tl.trans(tl.where(carried, out, 0.0)), tl.where(carried, e * query, 0.0), PRECISION)
        if inverse is not None:
            P = _load(inverse, row, i, count, i, H, C, like)
            dw = _mix(tl.trans(P), dw, _later(life, C), PRECISION)
            erase = _erase(r, rate, key, row, i, count, j, H, K, like)
            D -= _times(tl.trans(tl.where(carried, dw, 0.0)), tl.where(carried, e * erase, 0.0), PRECISION)
        _store(dX, row, i, count, m, H, V, dw)
    tl.store(dstate + head * V * K + own, D, mask=inside)


@triton.jit
def _write_back(
    k, v, decay, r, rate, start, W, before, dX, after, dk, dv, ddecay, dr, drate, T, N,
    H, K, V, C: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr, ERASES: tl.constexpr,
):  # fmt: skip
    piece = tl.program_id(0).to(tl.int64)
    head, n = piece // N, piece % N
    like = before.dtype.element_ty
    b, h, i = head // H, head % H, tl.arange(0, C)
    life, count = lives(start, b, n, T, C), T - n * C
    row, last, pairs = (b * T + n * C) * H + h, tl.max(life, 0), _visible(life, C)
    dA, dbeta, da = tl.zeros([C, C], like), tl.zeros([C], like), tl.zeros([C], like)
    for top in range(0, V, BLOCK_V):
        m = top + tl.arange(0, BLOCK_V)
        dx = _load(dX, row, i, count, m, H, V, like)
        if ERASES:
            dA -= _times(dx, tl.trans(_load(W, row, i, count, m, H, V, like)), PRECISION)
        if rate is not None:
            dbeta += tl.sum(dx * _load(v, row, i, count, m, H, V, like), 1)
            dx *= _gate(rate, row, i, count, H, like)
        _store(dv, row, i, count, m, H, V, dx)
    dA = tl.where(pairs & (i[:, None] > i[None, :]), dA, 0.0)  # the gradient of A / G
    for first in range(0, K, BLOCK_K):
        j = first + tl.arange(0, BLOCK_K)
        a = fades(decay, row, i, i < count, j, H, K, like, CHANNELS)
        e = _incoming(a, life, CHANNELS)
        f = _outgoing(decay, row, life, i, count, j, H, K, like, C, CHANNELS)
        g = passing(a, life, CHANNELS)
        key, dkey, dS = _load(k, row, i, count, j, H, K, like), tl.zeros([C, BLOCK_K], like), tl.zeros([BLOCK_K], like)
        derase = dkey
        for top in range(0, V, BLOCK_V):
            m = top + tl.arange(0, BLOCK_V)
            S, D = _block(before, piece, m, j, V, K), _block(after, piece, m, j, V, K)
            dS += tl.sum(S * D, 0)
            dkey += _times(_load(W, row, i, count, m, H, V, like), D, PRECISION)
            if ERASES:
                derase -= _times(_load(dX, row, i, count, m, H, V, like), S, PRECISION)
        kept, dkey = (life == last)[:, None], f * dkey
        ended, dkey = tl.where(kept, dkey * key, 0.0), tl.where(kept, dkey, 0.0)
        among = tl.cumsum(ended, 0) - ended + tl.where(last == 0, g * dS[None, :], 0.0)  # the gradient of log a
        if ERASES:
            erase = _erase(r, rate, key, row, i, count, j, H, K, like)
            derase = tl.where((life == 0)[:, None], e * derase, 0.0)
            among += tl.cumsum(derase * erase, 0, reverse=True)
            G = _left(a, pairs, C, CHANNELS)
            more, dcolumn, inside = _score_back(erase, key, G, dA, pairs, _later(life, C), CHANNELS, PRECISION)
            derase, dkey = derase + more, dkey + dcolumn
            if CHANNELS:
                among += inside
            else:
                da += inside
            if rate is None:
                _store(dr, row, i, count, j, H, K, derase)
            else:
                dbeta += tl.sum(derase * key, 1)
                dkey += _gate(rate, row, i, count, H, like) * derase
        _store(dk, row, i, count, j, H, K, dkey + _load(dk, row, i, count, j, H, K, like))
        if CHANNELS:
            _store(ddecay, row, i, count, j, H, K, among + _load(ddecay, row, i, count, j, H, K, like))
        else:
            da += tl.sum(among, 1)
    if decay is not None and not CHANNELS:
        da += tl.load(ddecay + row + i * H, mask=i < count, other=0)
        tl.store(ddecay + row + i * H, da, mask=i < count)
    if rate is not None:
        tl.store(drate + row + i * H, dbeta, mask=i < count)
