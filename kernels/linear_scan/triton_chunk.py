r"""The elementwise linear recurrence in three launches, C steps at a time; arguments as in `reference.py`.

    `_ends`             each chunk's final state from zero, and its total decay
    `_carry`            the state before each chunk, one after another
    `triton_step.scan`  the steps of all chunks, each from the state before it

Backward the same in reverse: what goes from chunk to chunk is the gradient of the state.

Traffic: u and decay are read twice, everything else once; the ends are three states for every C steps.
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from .triton_step import TILE, added, scan, tile

__all__ = ["linear_scan"]


def linear_scan(
    u: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    write: Tensor | None = None,
    read: Tensor | None = None,
    chunk: int = 32,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.linear_scan`, `chunk` steps at a time; the state in float32 or wider."""
    return scan(_carried, chunk, u, decay, state, start, write, read)


def _carried(
    x: Tensor, decay: Tensor, first: Tensor, start: Tensor, vector: Tensor | None, chunk: int, reverse: bool
) -> Tensor:
    """Return the states before all chunks, or in reverse the gradients after them, [B, P, D N]."""
    (B, T), S = start.shape, first.shape[1]
    size: dict[str, Any] = tile(x, vector) | {"REVERSE": reverse}
    P, M = triton.cdiv(T, chunk), S // decay.shape[-1]
    left, kept, carried = (first.new_empty((B, P, S)) for _ in range(3))
    _ends[(B * P * size["TILES"],)](x, decay, start, vector, left, kept, T, chunk, P, M, **size)
    size = {"TILES": triton.cdiv(S, TILE), "TILE": TILE, "REVERSE": reverse}
    _carry[(B * size["TILES"],)](first, left, kept, carried, P, S, **size)
    return carried


@triton.jit
def _ends(
    x, decay, start, vector, left, kept,
    T, C, P, M, D, N, TILES, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    piece, part = (tl.program_id(0) // TILES).to(tl.int64), tl.program_id(0) % TILES
    b, first = piece // P, piece % P * C
    d, n = part * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    own, inside = d[:, None] * N + n[None, :], (d < D)[:, None] & (n < N)[None, :]
    h = tl.zeros((BLOCK_D, BLOCK_N), left.dtype.element_ty)
    p = h + 1
    last = tl.minimum(first + C, T) - 1
    for i in range(last + 1 - first):
        row = b * T + (last - i if REVERSE else first + i)
        a = tl.exp(tl.load(decay + row * (D * N // M) + own // M, mask=inside, other=0).to(h.dtype))
        new = tl.load(start + row) != 0
        more = added(x, vector, row, d, n, D, N, h)
        if REVERSE:
            h = tl.where(new, 0.0, a * (h + more))
        else:
            h = a * tl.where(new, 0.0, h) + more
        p = tl.where(new, 0.0, a * p)
    tl.store(left + piece * D * N + own, h, mask=inside)
    tl.store(kept + piece * D * N + own, p, mask=inside)


@triton.jit
def _carry(first, left, kept, carried, P, S, TILES, TILE: tl.constexpr, REVERSE: tl.constexpr):
    b, part = (tl.program_id(0) // TILES).to(tl.int64), tl.program_id(0) % TILES
    s = part * TILE + tl.arange(0, TILE)
    h = tl.load(first + b * S + s, mask=s < S, other=0)
    for i in range(P):
        own = (b * P + (P - 1 - i if REVERSE else i)) * S + s
        tl.store(carried + own, h, mask=s < S)
        p = tl.load(kept + own, mask=s < S, other=0)
        h = tl.where(p == 0, 0.0, p * h) + tl.load(left + own, mask=s < S, other=0)  # a start blocks NaN too
