r"""The elementwise linear recurrence in one launch, with the state in registers; arguments as in `reference.py`.

A program holds a tile of the state, [BLOCK_D, BLOCK_N] of [D, N], and takes it through the steps of one life; where
nothing is read along N, D is all numbers of the state and N = 1. Gradients as in `cpu.py`. For them all states are
kept: they are y, or with `write` and `read` stand beside it.

The steps may be cut into pieces of C, a program for each, if the states before them are known: here there is one piece,
in `triton_chunk.py` there are many.

Shapes: P pieces, M numbers of the state that share one decay.
Traffic at T = 1: the state once in and once out, u and decay once in, y once out.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state

from .reference import flatten

__all__ = ["TILE", "added", "linear_scan", "scan", "tile"]

TILE = 512  # numbers of the state in a program: four for each thread of four warps, which is one load

Carry = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None, int, bool], Tensor]


def linear_scan(
    u: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    write: Tensor | None = None,
    read: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.linear_scan` in one launch; the state in float32 or wider, differentiable once."""
    return scan(_one_piece, u.shape[1], u, decay, state, start, write, read)


def _one_piece(
    x: Tensor, decay: Tensor, first: Tensor, start: Tensor, vector: Tensor | None, chunk: int, reverse: bool
) -> Tensor:
    return first


def scan(
    carry: Carry,
    chunk: int,
    u: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    write: Tensor | None,
    read: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.linear_scan` in pieces of `chunk` steps.

    `carry(x, decay, first, start, vector, chunk, reverse)` returns the states [B, P, D N] before all pieces, or in
    reverse the gradients after them: `first` [B, D N] is the first of them, or the last; x, or its outer product with
    the vector, is added at each step.
    """
    inputs = (carry, chunk, *flatten(u, decay, state, start), start, write, read)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (u, decay, state, write, read)):
        y, end = _Scan.apply(*inputs)  # type: ignore[no-untyped-call]
    else:
        y, end, _ = _run(*inputs, save=False)
    return y.view(u.shape), end.view(state.shape)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, carry: Carry, chunk: int, *inputs: Any) -> tuple[Tensor, Tensor]:
        y, end, saved = _run(carry, chunk, *inputs, save=True)
        ctx.save_for_backward(*saved)
        ctx.carry, ctx.chunk = carry, chunk
        return y, end

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        u, decay, state, start, w, r, before, states = ctx.saved_tensors
        dy, (B, T), size = dy.contiguous(), start.shape, tile(u, w)
        after = ctx.carry(dy, decay, dend.to(before.dtype).contiguous(), start, r, ctx.chunk, True)
        du, dstate = torch.empty_like(u), torch.empty_like(state)
        ddecay = torch.empty_like(states, dtype=decay.dtype)
        dw, dr = (None if x is None else before.new_empty((size["TILES"], *x.shape)) for x in (w, r))
        pieces = triton.cdiv(T, ctx.chunk)
        _backward[(B * pieces * size["TILES"],)](
            u, decay, start, w, r, before, states, dy, after, du, ddecay, dw, dr, dstate,
            T, ctx.chunk, pieces, B, M=states[0, 0].numel() // decay.shape[-1], **size,
        )  # fmt: skip
        ddecay = ddecay.view(*decay.shape, -1).sum(-1)  # M numbers of the state share one
        dw, dr = (None if x is None else x.sum(0).to(u.dtype) for x in (dw, dr))  # each tile has summed its own
        return None, None, du, ddecay, dstate, None, dw, dr


def _run(
    carry: Carry,
    chunk: int,
    u: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    write: Tensor | None,
    read: Tensor | None,
    *,
    save: bool,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """Run forward; return y, the last state and, if `save`, what the backward pass needs."""
    (B, T), wide = start.shape, torch.promote_types(state.dtype, torch.float32)
    u, decay, state = (x.detach().contiguous() for x in (u, decay, state))
    w, r = (None if x is None else x.detach().contiguous() for x in (write, read))
    start, size = start.contiguous().view(torch.uint8), tile(u, w)
    y = torch.empty_like(u, dtype=torch.promote_types(u.dtype, state.dtype))
    end = torch.empty_like(state) if save else next_state(state)
    states = y if w is None else state.new_empty((B, T, state.shape[1]), dtype=wide) if save else None
    before = carry(u, decay, state.to(wide), start, w, chunk, False)
    pieces = triton.cdiv(T, chunk)
    _forward[(B * pieces * size["TILES"],)](
        u, decay, start, w, r, before, y, None if w is None else states, end,
        T, chunk, pieces, M=state.shape[1] // decay.shape[-1], **size,
    )  # fmt: skip
    return y, end, (u, decay, state, start, w, r, before, states)


def tile(u: Tensor, vector: Tensor | None) -> dict[str, Any]:
    """Return the sizes of the state and its tiles as keyword arguments of the kernels."""
    D, N = u.shape[-1], 1 if vector is None else vector.shape[-1]
    block_n = triton.next_power_of_2(N)
    block_d = min(max(1, TILE // block_n), triton.next_power_of_2(D))
    return {"D": D, "N": N, "TILES": triton.cdiv(D, block_d), "BLOCK_D": block_d, "BLOCK_N": block_n}


# Below, a row is a step of a life, b T + t, and `own` says where the numbers of a tile stand in a state.


@triton.jit
def added(x, vector, row, d, n, D, N, like):
    """Load what a step adds to a tile: a part of x, or of the outer product of x and the vector."""
    if vector is None:
        inside = (d < D)[:, None] & (n < N)[None, :]
        part = tl.load(x + row * D * N + d[:, None] * N + n[None, :], mask=inside, other=0).to(like.dtype)
    else:
        rows = tl.load(x + row * D + d, mask=d < D, other=0).to(like.dtype)
        part = rows[:, None] * tl.load(vector + row * N + n, mask=n < N, other=0).to(like.dtype)[None, :]
    return part


@triton.jit
def _forward(
    u, decay, start, w, r, before, y, states, end,
    T, C, P, M, D, N, TILES, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    piece, part = (tl.program_id(0) // TILES).to(tl.int64), tl.program_id(0) % TILES
    b, first = piece // P, piece % P * C
    d, n = part * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    own, inside = d[:, None] * N + n[None, :], (d < D)[:, None] & (n < N)[None, :]
    h = tl.load(before + piece * D * N + own, mask=inside, other=0)
    for t in range(first, tl.minimum(first + C, T)):
        row = b * T + t
        a = tl.exp(tl.load(decay + row * (D * N // M) + own // M, mask=inside, other=0).to(h.dtype))
        h = a * tl.where(tl.load(start + row) != 0, 0.0, h) + added(u, w, row, d, n, D, N, h)
        if r is None:
            tl.store(y + row * D * N + own, h, mask=inside)
        else:
            vector = tl.load(r + row * N + n, mask=n < N, other=0).to(h.dtype)
            tl.store(y + row * D + d, tl.sum(h * vector[None, :], 1), mask=d < D)
        if states is not None:
            tl.store(states + row * D * N + own, h, mask=inside)
    if first + C >= T:
        tl.store(end + b * D * N + own, h, mask=inside)


@triton.jit
def _backward(
    u, decay, start, w, r, before, states, dy, after, du, ddecay, dw, dr, dstate,
    T, C, P, B, M, D, N, TILES, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    piece, part = (tl.program_id(0) // TILES).to(tl.int64), tl.program_id(0) % TILES
    b, first = piece // P, piece % P * C
    d, n = part * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    own, inside = d[:, None] * N + n[None, :], (d < D)[:, None] & (n < N)[None, :]
    back = tl.load(after + piece * D * N + own, mask=inside, other=0)
    h_first = tl.load(before + piece * D * N + own, mask=inside, other=0)
    last = tl.minimum(first + C, T) - 1
    h = tl.load(states + (b * T + last) * D * N + own, mask=inside, other=0).to(back.dtype)
    for i in range(last + 1 - first):
        t = last - i
        row = b * T + t
        a = tl.exp(tl.load(decay + row * (D * N // M) + own // M, mask=inside, other=0).to(back.dtype))
        back += added(dy, r, row, d, n, D, N, back)
        if w is None:
            tl.store(du + row * D * N + own, back, mask=inside)
        else:
            ud = tl.load(u + row * D + d, mask=d < D, other=0).to(back.dtype)
            dyd = tl.load(dy + row * D + d, mask=d < D, other=0).to(back.dtype)
            vector = tl.load(w + row * N + n, mask=n < N, other=0).to(back.dtype)
            tl.store(du + row * D + d, tl.sum(back * vector[None, :], 1), mask=d < D)
            total = (part * B * T + row) * N + n
            tl.store(dw + total, tl.sum(back * ud[:, None], 0), mask=n < N)
            tl.store(dr + total, tl.sum(h * dyd[:, None], 0), mask=n < N)
        h = tl.load(states + (b * T + tl.maximum(t - 1, first)) * D * N + own, mask=inside, other=0).to(back.dtype)
        h = tl.where(t > first, h, h_first)
        new = tl.load(start + row) != 0
        back = tl.where(new, 0.0, a * back)
        tl.store(ddecay + row * D * N + own, tl.where(new, 0.0, back * h), mask=inside)
    if first == 0:
        tl.store(dstate + b * D * N + own, back, mask=inside)
