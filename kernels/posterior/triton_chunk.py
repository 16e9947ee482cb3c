r"""The posterior recurrence in pieces of C steps, a program for each; arguments as in `reference.py`.

The division needs every step's matrices, so y is no matrix product. But M and J are fast weights without erase, and the
states before all pieces come from their matrix form. Then

    `triton_step.scan`  the steps of all pieces, each from the states before it

Gradients, with those of M and J after a piece, g = dy q^T / (J + I_p) at each of its steps and mean = M / (J + I_p):

    `_pull`   gradients of the states before a piece from its reads, sum of e g and of -e g * mean; e is the decay at a
              step of the incoming state
    `_carry`  the gradients after each piece, one after another, last piece first
    `scan`    the steps of all pieces

This takes twice the work of the steps alone, and pays off where there are too few lives to fill the GPU.
Traffic: all but y is read twice, and four states for every C steps are kept, in backward four more.
"""

from typing import cast

import triton
import triton.language as tl
from torch import Tensor

from lifelong.kernels.fast_weight.triton_chunk import states_between

from .triton_step import SEGMENT, kept, scan, tile, vector, written

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
    chunk: int = 64,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.posterior` in pieces of `chunk` steps, a power of two and 16 at least."""
    if chunk < SEGMENT or chunk & (chunk - 1):
        raise ValueError(f"chunk must be a power of two, {SEGMENT} or more, got {chunk}")
    return scan(_before, _after, chunk, q, k, w, b, evidence, importance, start, prior, decay)


def _before(inputs: tuple[Tensor | None, ...], M: Tensor, J: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    _, k, w, b, start, _, decay = cast(tuple[Tensor, ...], inputs)
    return states_between(k, w, decay, start, M, chunk), states_between(k * k, b, decay, start, J, chunk)


def _after(inputs: tuple[Tensor | None, ...], dM: Tensor, dJ: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    q, k, w, b, start, prior, decay, dy, marks = cast(tuple[Tensor, ...], inputs)
    (B, T, H, K), V, size = q.shape, w.shape[-1], tile(q, w, decay)
    P = triton.cdiv(T, chunk)
    M_after, J_after = dM.new_empty((B, H, P, V, K)), dJ.new_empty((B, H, P, V, K))
    N = K if size["CHANNELS"] else 1
    left = dM.new_empty((B, H, P, N))
    _pull[(B * H * P * size["TILES"],)](
        q, k, w, b, decay, start, prior, marks, dy, M_after, J_after, left, B, T, chunk, P, SEGMENT=SEGMENT, **size
    )
    blocks = triton.cdiv(V * K, 1024)
    for last, after in ((dM, M_after), (dJ, J_after)):
        _carry[(B * H * blocks,)](last, after, left, P, V * K, N, blocks, BLOCK=1024)
    return M_after, J_after


@triton.jit
def _pull(
    q, k, w, b, decay, start, prior, marks, dy, pull_M, pull_J, left, B, T, C, P,
    H, K, V, TILES, SEGMENT: tl.constexpr, CHANNELS: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    piece, part = (tl.program_id(0) // TILES).to(tl.int64), tl.program_id(0) % TILES
    head, first = piece // P, piece % P * C
    life, h = head // H, head % H
    i, j = part * BLOCK_V + tl.arange(0, BLOCK_V), tl.arange(0, BLOCK_K)
    own, inside = i[:, None] * K + j[None, :], (i < V)[:, None] & (j < K)[None, :]
    mark, segments = marks + (first // SEGMENT * B * H + head) * V * K, (T + SEGMENT - 1) // SEGMENT
    M = tl.load(mark + own, mask=inside, other=0)
    J = tl.load(mark + segments * B * H * V * K + own, mask=inside, other=0)
    base, e = tl.load(prior + h).to(M.dtype), tl.full([1, BLOCK_K if CHANNELS else 1], 1.0, M.dtype)
    DM, DJ = tl.zeros([BLOCK_V, BLOCK_K], M.dtype), tl.zeros([BLOCK_V, BLOCK_K], M.dtype)
    for t in range(first, tl.minimum(first + C, T)):
        row = (life * T + t) * H + h
        fresh = tl.load(start + life * T + t) != 0
        M, J = written(M, J, k, w, b, decay, fresh, row, i, j, K, V, CHANNELS)
        e = tl.where(fresh, 0.0, e) * kept(decay, row, j, K, M, CHANNELS)
        precision = 1.0 / (J + base)
        g = vector(dy, row, i, V, M)[:, None] * vector(q, row, j, K, M)[None, :] * precision
        g = tl.where(e == 0, 0.0, e * g)  # a start blocks every gradient, NaN included
        DM += g
        DJ -= tl.where(e == 0, 0.0, g * M * precision)
    tl.store(pull_M + piece * V * K + own, DM, mask=inside)
    tl.store(pull_J + piece * V * K + own, DJ, mask=inside)
    if part == 0:
        if CHANNELS:
            tl.store(left + piece * K + j[None, :], e, mask=(j < K)[None, :])
        else:
            tl.store(left + piece, tl.sum(e))


@triton.jit
def _carry(last, after, left, P, S, N, blocks, BLOCK: tl.constexpr):
    """Replace the pull of each piece, [S], by the gradient after it; `left` is N decays of each, 1 or K."""
    head, part = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    s = part * BLOCK + tl.arange(0, BLOCK)
    D = tl.load(last + head * S + s, mask=s < S, other=0)
    for ago in range(P):
        piece = head * P + P - 1 - ago
        pull = tl.load(after + piece * S + s, mask=s < S, other=0)
        tl.store(after + piece * S + s, D, mask=s < S)
        g = tl.load(left + piece * N + s % N)
        D = tl.where(g == 0, 0.0, g * D) + pull
