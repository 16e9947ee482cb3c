r"""The fast-weight recurrence in one launch, with the matrix in registers; arguments as in `reference.py`.

A program holds some rows of one head's matrix, a tile [BLOCK_V, K] of S [V, K], and takes it through all steps: the
state is read once and written once, whatever T. Rows are independent, so tiles never synchronise; gradients shared by
all rows (of q, k, r, c and the gates) are summed over the tiles at the end.

Gradients, last step first, with D the gradient of S after the step, S1 the matrix after its decay:

    D  <- D + dy q^T        dq = S^T dy        dv = D k        dk = D^T v
    du  = -D c              dc = -D^T u        D <- D + du r^T        dr = S1^T du
    dlog a = sum of D * S1  D <- a * D

Forward keeps the erase's output, u = S1 r, and S every `SEGMENT` steps; backward recomputes a segment's states, in a
buffer that is small enough to stay in the GPU's cache. Traffic at T = 1: the state once in and once out.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state

__all__ = ["fast_weight"]

SEGMENT = 16  # steps between the states kept for the backward pass
TILE = 2048  # numbers of the matrix in a program: 16 for each thread of four warps


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
    """Compute `reference.fast_weight` in one launch; the state in float32 or wider, differentiable once."""
    inputs = (q, k, v, state, start, decay, erase, erase_key, rate)
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
        return y, end

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        q, k, v, start, decay, r, c, rate, said, marks = ctx.saved_tensors
        size = _tile(q, v, decay)
        programs = q.shape[0] * q.shape[2] * size["TILES"]
        formed = marks.new_empty((programs, SEGMENT, size["BLOCK_V"], size["K"]))
        dv, dstate = torch.empty_like(v), own_state(dend)
        dq, dk, ddecay, dr, dc, drate = (  # every tile writes its own sum
            None if x is None else marks.new_empty((size["TILES"], *x.shape)) for x in (q, k, decay, r, c, rate)
        )
        _backward[(programs,)](
            q, k, v, decay, r, c, rate, start, said, marks, formed, dy.contiguous(), dq, dk, dv, ddecay, dr, dc, drate,
            dstate, q.shape[0], q.shape[1], SEGMENT=SEGMENT, **size,
        )  # fmt: skip
        dq, dk, ddecay, dr, dc, drate = (
            None if x is None else x.sum(0).to(like.dtype)
            for x, like in ((dq, q), (dk, k), (ddecay, decay), (dr, r), (dc, c), (drate, rate))
        )
        return dq, dk, dv, dstate, None, ddecay, dr, dc, drate


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    start: Tensor,
    decay: Tensor | None,
    erase: Tensor | None,
    erase_key: Tensor | None,
    rate: Tensor | None,
    *,
    save: bool,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """Run forward; return y, the last state and, if `save`, what the backward pass needs."""
    B, T, H, K = q.shape
    V = v.shape[-1]
    q, k, v = (x.detach().contiguous() for x in (q, k, v))
    decay, r, c, rate = (None if x is None else x.detach().contiguous() for x in (decay, erase, erase_key, rate))
    flags, size = start.contiguous().view(torch.uint8), _tile(q, v, decay)
    y, end = torch.empty_like(v), own_state(state) if save else next_state(state)
    said = end.new_empty((B, T, H, V)) if save and (r is not None or rate is not None) else None
    marks = end.new_empty((triton.cdiv(T, SEGMENT), B, H, V, K)) if save else None
    _forward[(B * H * size["TILES"],)](
        q, k, v, decay, r, c, rate, flags, y, end, said, marks, B, T, SEGMENT=SEGMENT, **size
    )
    return y, end, (q, k, v, flags, decay, r, c, rate, said, marks)


def _tile(q: Tensor, v: Tensor, decay: Tensor | None) -> dict[str, Any]:
    """Return the sizes of the matrices and tiles as keyword arguments of the kernels.

    A tile has `TILE` numbers, 4 rows at least; one row of threads then holds whole rows, whose sums need no other warp.
    """
    H, K, V = q.shape[2], q.shape[3], v.shape[3]
    block_k = triton.next_power_of_2(K)
    block_v = min(max(4, TILE // block_k), triton.next_power_of_2(V))
    channels = decay is not None and decay.ndim == 4
    return {"H": H, "K": K, "V": V, "TILES": triton.cdiv(V, block_v), "CHANNELS": channels, "BLOCK_K": block_k,
            "BLOCK_V": block_v}  # fmt: skip


# Below, row (b T + t) H + h is step t of head h of life b; `i` are rows of the matrix, `j` its columns.


@triton.jit
def _kept(decay, row, j, K, like, CHANNELS: tl.constexpr):
    """Return the factors of a step, [1, BLOCK_K], or one."""
    if decay is None:
        a = tl.full([1, 1], 1.0, like.dtype)
    elif CHANNELS:
        a = tl.exp(tl.load(decay + row * K + j, mask=j < K, other=0).to(like.dtype))[None, :]
    else:
        a = tl.exp(tl.load(decay + row).to(like.dtype)) + tl.full([1, 1], 0.0, like.dtype)
    return a


@triton.jit
def _vector(x, row, j, K, like):
    return tl.load(x + row * K + j, mask=j < K, other=0).to(like.dtype)


@triton.jit
def _forward(
    q, k, v, decay, r, c, rate, start, y, end, said, marks, B, T,
    H, K, V, TILES, CHANNELS: tl.constexpr, SEGMENT: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    head, part = (tl.program_id(0) // TILES).to(tl.int64), tl.program_id(0) % TILES
    b, h = head // H, head % H
    i, j = part * BLOCK_V + tl.arange(0, BLOCK_V), tl.arange(0, BLOCK_K)
    own, inside = (head * V + i[:, None]) * K + j[None, :], (i < V)[:, None] & (j < K)[None, :]
    S = tl.load(end + own, mask=inside, other=0)
    for t in range(T):
        row = (b * T + t) * H + h
        if marks is not None:  # noqa: SIM102  decided when it is compiled, the next one when it runs
            if t % SEGMENT == 0:
                tl.store(marks + t // SEGMENT * B * H * V * K + own, S, mask=inside)
        S = tl.where(tl.load(start + b * T + t) != 0, 0.0, S) * _kept(decay, row, j, K, S, CHANNELS)
        key, w = _vector(k, row, j, K, S), _vector(v, row, i, V, S)
        if rate is not None:
            u = tl.sum(S * key[None, :], 1)
            w = tl.load(rate + row).to(S.dtype) * (w - u)
            if said is not None:
                tl.store(said + row * V + i, u, mask=i < V)
        elif r is not None:
            u = tl.sum(S * _vector(r, row, j, K, S)[None, :], 1)
            if c is None:
                w -= u
            else:
                S -= u[:, None] * _vector(c, row, j, K, S)[None, :]
            if said is not None:
                tl.store(said + row * V + i, u, mask=i < V)
        S += w[:, None] * key[None, :]
        tl.store(y + row * V + i, tl.sum(S * _vector(q, row, j, K, S)[None, :], 1), mask=i < V)
    tl.store(end + own, S, mask=inside)


@triton.jit
def _backward(
    q, k, v, decay, r, c, rate, start, said, marks, formed, dy, dq, dk, dv, ddecay, dr, dc, drate, dstate, B, T,
    H, K, V, TILES, CHANNELS: tl.constexpr, SEGMENT: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    head, part = (tl.program_id(0) // TILES).to(tl.int64), tl.program_id(0) % TILES
    b, h = head // H, head % H
    i, j = part * BLOCK_V + tl.arange(0, BLOCK_V), tl.arange(0, BLOCK_K)
    own, inside = (head * V + i[:, None]) * K + j[None, :], (i < V)[:, None] & (j < K)[None, :]
    place = (tl.program_id(0).to(tl.int64) * SEGMENT * BLOCK_V + tl.arange(0, BLOCK_V)[:, None]) * K + j[None, :]
    D = tl.load(dstate + own, mask=inside, other=0)
    segments = (T + SEGMENT - 1) // SEGMENT
    for back in range(segments):
        n = segments - 1 - back
        first = n * SEGMENT
        count = tl.minimum(SEGMENT, T - first)
        S = tl.load(marks + n * B * H * V * K + own, mask=inside, other=0)
        for s in range(count):
            row = (b * T + first + s) * H + h
            S = tl.where(tl.load(start + b * T + first + s) != 0, 0.0, S) * _kept(decay, row, j, K, S, CHANNELS)
            w = _vector(v, row, i, V, S)
            if rate is not None:
                w = tl.load(rate + row).to(S.dtype) * (w - _vector(said, row, i, V, S))
            elif r is not None:
                if c is None:
                    w -= _vector(said, row, i, V, S)
                else:
                    S -= _vector(said, row, i, V, S)[:, None] * _vector(c, row, j, K, S)[None, :]
            S += w[:, None] * _vector(k, row, j, K, S)[None, :]
            tl.store(formed + s * BLOCK_V * K + place, S, mask=inside)
        tl.debug_barrier()  # threads load what others stored
        for ago in range(count):
            s = count - 1 - ago
            row = (b * T + first + s) * H + h
            total = (part * B * T + b * T + first + s) * H + h
            fresh = tl.load(start + b * T + first + s) != 0
            S = tl.load(formed + s * BLOCK_V * K + place, mask=inside, other=0)
            S1 = tl.load(formed + tl.maximum(s - 1, 0) * BLOCK_V * K + place, mask=inside, other=0)
            S1 = tl.where(s > 0, S1, tl.load(marks + n * B * H * V * K + own, mask=inside, other=0))
            a = _kept(decay, row, j, K, S, CHANNELS)
            S1 = tl.where(fresh, 0.0, S1) * a
            key, w, out = _vector(k, row, j, K, S), _vector(v, row, i, V, S), _vector(dy, row, i, V, S)
            D += out[:, None] * _vector(q, row, j, K, S)[None, :]
            tl.store(dq + total * K + j, tl.sum(S * out[:, None], 0), mask=j < K)
            dw = tl.sum(D * key[None, :], 1)
            if rate is not None:
                beta, error = tl.load(rate + row).to(S.dtype), w - _vector(said, row, i, V, S)
                tl.store(drate + total, tl.sum(dw * error, 0))
                du = -beta * dw
                dkey = tl.sum(D * (beta * error)[:, None], 0)
                D += du[:, None] * key[None, :]
                tl.store(dk + total * K + j, dkey + tl.sum(S1 * du[:, None], 0), mask=j < K)
                dw = beta * dw
            elif r is not None:
                u, erase = _vector(said, row, i, V, S), _vector(r, row, j, K, S)
                if c is None:
                    du = -dw
                    w -= u
                else:
                    du = -tl.sum(D * _vector(c, row, j, K, S)[None, :], 1)
                    tl.store(dc + total * K + j, -tl.sum(D * u[:, None], 0), mask=j < K)
                tl.store(dk + total * K + j, tl.sum(D * w[:, None], 0), mask=j < K)
                D += du[:, None] * erase[None, :]
                tl.store(dr + total * K + j, tl.sum(S1 * du[:, None], 0), mask=j < K)
            else:
                tl.store(dk + total * K + j, tl.sum(D * w[:, None], 0), mask=j < K)
            tl.store(dv + row * V + i, dw, mask=i < V)
            if decay is not None:
                flow = tl.sum(D * S1, 0)
                if CHANNELS:
                    tl.store(ddecay + total * K + j, flow, mask=j < K)
                else:
                    tl.store(ddecay + total, tl.sum(flow, 0))
            D = tl.where(fresh, 0.0, D * a)
        tl.debug_barrier()  # before the next segment overwrites the buffer
    tl.store(dstate + own, D, mask=inside)
