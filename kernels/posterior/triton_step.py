r"""The posterior recurrence in one launch, with both matrices in registers; arguments as in `reference.py`.

A program holds some rows of one head's matrices, tiles [BLOCK_V, K] of M and J [V, K], and takes them through all
steps. Gradients as in `cpu.py`; those shared by all rows are summed over the tiles at the end. Forward keeps M and J
every `SEGMENT` steps; backward recomputes a segment's states, each program in a buffer of its own, and there are no
more programs than a GPU runs at once.

The steps may be cut into pieces of C, if the states before them are known: here there is one piece, in
`triton_chunk.py` there are many.
Traffic at T = 1: both states once in and once out.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state

__all__ = ["SEGMENT", "kept", "posterior", "scan", "tile", "vector", "written"]

SEGMENT = 16  # steps between the states kept for the backward pass
TILE = 1024  # numbers of each matrix in a program: 8 for each thread of four warps
PROGRAMS = 1024  # programs of a backward pass: 8 for each processor of a large GPU; their buffers are 128 KB each

Before = Callable[[tuple[Tensor | None, ...], Tensor, Tensor, int], tuple[Tensor, Tensor]]


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
    """Compute `reference.posterior` in one launch; the states in float32 or wider, differentiable once."""
    return scan(_one_piece, _one_piece, q.shape[1], q, k, w, b, evidence, importance, start, prior, decay)


def _one_piece(inputs: tuple[Tensor | None, ...], M: Tensor, J: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    return M, J


def scan(before: Before, after: Before, chunk: int, *inputs: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.posterior` in pieces of `chunk` steps, one, or each of whole segments.

    `before((q, k, w, b, start, prior, decay), M, J, chunk)` returns the states before all pieces, [B, H, P, V, K], of
    which M and J are the first; `after((..., dy, states), dM, dJ, chunk)` the gradients after them, of which dM and dJ
    are the last.
    """
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        made: tuple[Tensor, Tensor, Tensor] = _Posterior.apply(before, after, chunk, *inputs)  # type: ignore[no-untyped-call]
        return made
    return _run(before, chunk, *inputs, save=False)[:3]  # type: ignore[arg-type]


class _Posterior(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, before: Before, after: Before, chunk: int, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        y, M, J, saved = _run(before, chunk, *inputs, save=True)
        ctx.save_for_backward(*saved)
        ctx.after, ctx.chunk = after, chunk
        return y, M, J

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dM: Tensor, dJ: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        q, k, w, b, start, prior, decay, marks = ctx.saved_tensors
        (B, T, H, _), size, dy = q.shape, tile(q, w, decay), dy.contiguous()
        P = triton.cdiv(T, ctx.chunk)
        dM, dJ, dw, db = own_state(dM), own_state(dJ), torch.empty_like(w), torch.empty_like(b)
        M_after, J_after = ctx.after((q, k, w, b, start, prior, decay, dy, marks), dM, dJ, ctx.chunk)
        parts = B * H * P * size["TILES"]
        programs = min(parts, PROGRAMS)
        formed = marks.new_empty((programs, 2, SEGMENT, size["BLOCK_V"], size["K"]))
        dq, dk, ddecay = (  # every tile writes its own sum
            None if x is None else marks.new_empty((size["TILES"], *x.shape)) for x in (q, k, decay)
        )
        dprior = marks.new_empty((B, H, P * size["TILES"]))
        _backward[(programs,)](
            q, k, w, b, decay, start, prior, marks, formed, dy, M_after, J_after, dq, dk, dw, db, ddecay, dprior, dM,
            dJ, B, T, ctx.chunk, P, parts, SEGMENT=SEGMENT, **size,
        )  # fmt: skip
        dq, dk, ddecay = (
            None if x is None else x.sum(0).to(like.dtype) for x, like in ((dq, q), (dk, k), (ddecay, decay))
        )
        return None, None, None, dq, dk, dw, db, dM, dJ, None, dprior.sum((0, 2)).to(prior.dtype), ddecay


def _run(
    before: Before,
    chunk: int,
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
    """Run forward; return y, the last states and what the backward pass needs."""
    B, T, H, K = q.shape
    P = triton.cdiv(T, chunk)
    q, k, w, b, prior = (x.detach().contiguous() for x in (q, k, w, b, prior))
    decay = None if decay is None else decay.detach().contiguous()
    flags, size, y = start.contiguous().view(torch.uint8), tile(q, w, decay), torch.empty_like(w)
    M, J = (own_state(x) if save else next_state(x) for x in (evidence, importance))
    marks = M.new_empty((2, triton.cdiv(T, SEGMENT), B, H, w.shape[-1], K)) if save else None
    M_before, J_before = before((q, k, w, b, flags, prior, decay), M, J, chunk)
    _forward[(B * H * P * size["TILES"],)](
        q, k, w, b, decay, flags, prior, M_before, J_before, y, M, J, marks, B, T, chunk, P, SEGMENT=SEGMENT, **size
    )
    return y, M, J, (q, k, w, b, flags, prior, decay, marks)


def tile(q: Tensor, w: Tensor, decay: Tensor | None) -> dict[str, int]:
    """Return the sizes of the matrices and tiles as keyword arguments of the kernels."""
    H, K, V = q.shape[2], q.shape[3], w.shape[3]
    block_k = triton.next_power_of_2(K)
    block_v = min(max(4, TILE // block_k), triton.next_power_of_2(V))
    channels = decay is not None and decay.ndim == 4
    return {"H": H, "K": K, "V": V, "TILES": triton.cdiv(V, block_v), "CHANNELS": channels, "BLOCK_K": block_k,
            "BLOCK_V": block_v}  # fmt: skip


# Below, row (b T + t) H + h is step t of head h of life b; `i` are rows of the matrices, `j` their columns.


@triton.jit
def vector(x, row, j, K, like):
    """Load the vector of a step, [BLOCK_K] or [BLOCK_V]."""
    return tl.load(x + row * K + j, mask=j < K, other=0).to(like.dtype)


@triton.jit
def kept(decay, row, j, K, like, CHANNELS: tl.constexpr):
    """Return the factor of a step, [1, 1], or those of its key channels, [1, BLOCK_K], or one."""
    if decay is None:
        a = tl.full([1, 1], 1.0, like.dtype)
    elif CHANNELS:
        a = tl.exp(vector(decay, row, j, K, like))[None, :]
    else:
        a = tl.exp(tl.load(decay + row).to(like.dtype)) + tl.full([1, 1], 0.0, like.dtype)
    return a


@triton.jit
def written(M, J, k, w, b, decay, fresh, row, i, j, K, V, CHANNELS: tl.constexpr):
    """Return both matrices after the write of a step."""
    a, key = kept(decay, row, j, K, M, CHANNELS), vector(k, row, j, K, M)[None, :]
    M = tl.where(fresh, 0.0, M) * a + vector(w, row, i, V, M)[:, None] * key
    J = tl.where(fresh, 0.0, J) * a + vector(b, row, i, V, M)[:, None] * key * key
    return M, J


@triton.jit
def _forward(
    q, k, w, b, decay, start, prior, M_before, J_before, y, M_end, J_end, marks, B, T, C, P,
    H, K, V, TILES, SEGMENT: tl.constexpr, CHANNELS: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    piece, part = (tl.program_id(0) // TILES).to(tl.int64), tl.program_id(0) % TILES
    head, first = piece // P, piece % P * C
    life, h = head // H, head % H
    i, j = part * BLOCK_V + tl.arange(0, BLOCK_V), tl.arange(0, BLOCK_K)
    own, inside = i[:, None] * K + j[None, :], (i < V)[:, None] & (j < K)[None, :]
    M = tl.load(M_before + piece * V * K + own, mask=inside, other=0)
    J = tl.load(J_before + piece * V * K + own, mask=inside, other=0)
    base, segments = tl.load(prior + h).to(M.dtype), (T + SEGMENT - 1) // SEGMENT
    for t in range(first, tl.minimum(first + C, T)):
        row = (life * T + t) * H + h
        if marks is not None:  # noqa: SIM102  decided when it is compiled, the next one when it runs
            if t % SEGMENT == 0:
                mark = marks + (t // SEGMENT * B * H + head) * V * K
                tl.store(mark + own, M, mask=inside)
                tl.store(mark + segments * B * H * V * K + own, J, mask=inside)
        M, J = written(M, J, k, w, b, decay, tl.load(start + life * T + t) != 0, row, i, j, K, V, CHANNELS)
        read = tl.sum(M / (J + base) * vector(q, row, j, K, M)[None, :], 1)
        tl.store(y + row * V + i, read, mask=i < V)
    if first + C >= T:
        tl.store(M_end + head * V * K + own, M, mask=inside)
        tl.store(J_end + head * V * K + own, J, mask=inside)


@triton.jit
def _backward(
    q, k, w, b, decay, start, prior, marks, formed, dy, M_after, J_after, dq, dk, dw, db, ddecay, dprior, dM, dJ,
    B, T, C, P, parts, H, K, V, TILES, SEGMENT: tl.constexpr, CHANNELS: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    step = BLOCK_V * K  # numbers of one formed state; all of M come first, then all of J
    place = tl.program_id(0).to(tl.int64) * 2 * SEGMENT * step
    place += tl.arange(0, BLOCK_V)[:, None] * K + tl.arange(0, BLOCK_K)[None, :]
    segments, states = (T + SEGMENT - 1) // SEGMENT, B * H * V * K
    for own_part in range(tl.program_id(0).to(tl.int64), parts, tl.num_programs(0)):
        piece, part = own_part // TILES, own_part % TILES
        head, begin = piece // P, piece % P * C
        life, h = head // H, head % H
        i, j = part * BLOCK_V + tl.arange(0, BLOCK_V), tl.arange(0, BLOCK_K)
        own, inside = i[:, None] * K + j[None, :], (i < V)[:, None] & (j < K)[None, :]
        DM = tl.load(M_after + piece * V * K + own, mask=inside, other=0)
        DJ = tl.load(J_after + piece * V * K + own, mask=inside, other=0)
        base, dbase = tl.load(prior + h).to(DM.dtype), tl.zeros([BLOCK_K], DM.dtype)
        length = tl.minimum(C, T - begin)
        for back in range((length + SEGMENT - 1) // SEGMENT):
            first = begin + ((length + SEGMENT - 1) // SEGMENT - 1 - back) * SEGMENT
            count = tl.minimum(SEGMENT, begin + length - first)
            mark = marks + (first // SEGMENT * B * H + head) * V * K
            M0 = tl.load(mark + own, mask=inside, other=0)
            J0 = tl.load(mark + segments * states + own, mask=inside, other=0)
            M, J = M0, J0
            for s in range(count):
                fresh = tl.load(start + life * T + first + s) != 0
                M, J = written(M, J, k, w, b, decay, fresh, (life * T + first + s) * H + h, i, j, K, V, CHANNELS)
                tl.store(formed + s * step + place, M, mask=inside)
                tl.store(formed + (SEGMENT + s) * step + place, J, mask=inside)
            tl.debug_barrier()  # threads load what others stored
            for ago in range(count):
                s = count - 1 - ago
                row = (life * T + first + s) * H + h
                total = (part * B * T + life * T + first + s) * H + h
                M = tl.load(formed + s * step + place, mask=inside, other=0)
                J = tl.load(formed + (SEGMENT + s) * step + place, mask=inside, other=0)
                before = tl.maximum(s - 1, 0)
                M1 = tl.where(s > 0, tl.load(formed + before * step + place, mask=inside, other=0), M0)
                J1 = tl.where(s > 0, tl.load(formed + (SEGMENT + before) * step + place, mask=inside, other=0), J0)
                fresh, a = tl.load(start + life * T + first + s) != 0, kept(decay, row, j, K, M, CHANNELS)
                key, out = vector(k, row, j, K, M), vector(dy, row, i, V, M)
                precision = 1.0 / (J + base)
                mean = M * precision
                tl.store(dq + total * K + j, tl.sum(mean * out[:, None], 0), mask=j < K)
                g = out[:, None] * vector(q, row, j, K, M)[None, :] * precision
                DM += g
                DJ -= g * mean
                dbase -= tl.sum(g * mean, 0)
                wi, bi = vector(w, row, i, V, M), vector(b, row, i, V, M)
                tl.store(dw + row * V + i, tl.sum(DM * key[None, :], 1), mask=i < V)
                tl.store(db + row * V + i, tl.sum(DJ * (key * key)[None, :], 1), mask=i < V)
                dkey = tl.sum(DM * wi[:, None], 0) + 2.0 * key * tl.sum(DJ * bi[:, None], 0)
                tl.store(dk + total * K + j, dkey, mask=j < K)
                DM, DJ = tl.where(fresh, 0.0, DM * a), tl.where(fresh, 0.0, DJ * a)
                if decay is not None:
                    flow = tl.where(fresh, 0.0, DM * M1 + DJ * J1)
                    if CHANNELS:
                        tl.store(ddecay + total * K + j, tl.sum(flow, 0), mask=j < K)
                    else:
                        tl.store(ddecay + total, tl.sum(tl.sum(flow, 0), 0))
            tl.debug_barrier()  # before the next segment overwrites the buffer
        tl.store(dprior + own_part, tl.sum(dbase, 0))
        if begin == 0:
            tl.store(dM + head * V * K + own, DM, mask=inside)
            tl.store(dJ + head * V * K + own, DJ, mask=inside)
