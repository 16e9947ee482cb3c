r"""Fused operations, each in one launch; arguments as in `reference.py`.

Steps are independent: a program holds some rows and all channels they are summed over, [BLOCK_N, BLOCK], and of `qkv`
one head. A row of the convolution reads the W - 1 rows before it of the same life, and backward the W - 1 rows after
it, with sigma = 1 / (1 + exp(-z)), n = 1 / |s| over a head:

    s = z sigma,  q = n s                   ds = n (dq - q (q . dq)),  dz = ds sigma (1 + z (1 - sigma))
    z_t = sum_i weight[:, W-1-i] x_{t-i}    dx_t = sum_i weight[:, W-1-i] dz_{t+i},  dweight[:, W-1-i] += dz_t x_{t-i}
    y = x r w silu(g),  r = 1 / rms(x)      dx = r (dn - x r mean(dn x r)) with dn = dy w silu(g)

The backward pass recomputes all intermediate values; that of `qkv` is two launches, for dz and then for dx.
A weight's gradient is a sum over rows: every program writes its own, and one sum after the launch adds them in order.
Traffic: inputs and outputs once; `qkv` reads its input W times, from the cache all but once.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once

__all__ = ["WIDEST", "gated_linear", "gated_norm", "qkv"]

EPS = tl.constexpr(1e-5)
TINY = tl.constexpr(1e-6)
TILE = 2048  # numbers in a program at a time: 16 for each thread of four warps
PROGRAMS = 1024  # programs that fill a GPU; also the largest number of partial sums
WIDEST = 1 << 14  # channels that can be summed over in one program


def qkv(
    x: Tensor, weight: Tensor, state: Tensor, start: Tensor, num_heads: int, key_dim: int, unit: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.qkv` in one launch; sums in float32 or wider, differentiable once."""
    if torch.is_grad_enabled() and any(z.requires_grad for z in (x, weight, state)):
        made: tuple[Tensor, Tensor, Tensor, Tensor] = _QKV.apply(x, weight, state, start, num_heads, key_dim, unit)  # type: ignore[no-untyped-call]
        return made
    return _run_qkv(x, weight, state, start, num_heads, key_dim, unit)


def gated_norm(x: Tensor, weight: Tensor, gate: Tensor | None = None) -> Tensor:
    """Compute `reference.gated_norm` in one launch; sums in float32 or wider, differentiable once."""
    if torch.is_grad_enabled() and any(z is not None and z.requires_grad for z in (x, weight, gate)):
        made: Tensor = _GatedNorm.apply(x, weight, gate)  # type: ignore[no-untyped-call]
        return made
    return _run_norm(x, weight, gate)


def gated_linear(z: Tensor) -> Tensor:
    """Compute `reference.gated_linear` in one launch; products in float32 or wider, differentiable once."""
    if torch.is_grad_enabled() and z.requires_grad:
        made: Tensor = _GatedLinear.apply(z)  # type: ignore[no-untyped-call]
        return made
    return _run_linear(z)


class _QKV(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, weight, state, start, _, ctx.key_dim, ctx.unit = inputs
        ctx.save_for_backward(x, weight, state, start)
        return _run_qkv(*inputs)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor, dafter: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        x, weight, state, start = (z.contiguous() for z in ctx.saved_tensors)
        B, T, C = x.shape
        W, H, flags = weight.shape[1], dq.shape[2], start.view(torch.uint8)
        size = _heads(x, H, ctx.key_dim)
        pieces = triton.cdiv(B * T, size["BLOCK_N"])
        dz, dweight = (x.new_empty(shape, dtype=_wide(dq)) for shape in ((B, T, C), (pieces, W, C)))
        _qkv_backward[(pieces * H,)](
            x, weight, state, flags, dq.contiguous(), dk.contiguous(), dv.contiguous(), dz, dweight,
            B * T, T, C, W=W, UNIT=ctx.unit, **size,
        )  # fmt: skip
        dx, dstate, N = torch.empty_like(x), torch.empty_like(state), B * (T + W - 1)
        cut, programs = _parts(N, C)
        _conv_backward[(programs,)](dz, weight, flags, dafter.contiguous(), dx, dstate, N, T, C, W=W, **cut)
        return dx, dweight.sum(0).mT.to(weight.dtype), dstate, None, None, None, None


def _run_qkv(
    x: Tensor, weight: Tensor, state: Tensor, start: Tensor, num_heads: int, key_dim: int, unit: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, weight, state, start = (z.detach().contiguous() for z in (x, weight, state, start))
    B, T, C = x.shape
    size, dtype = _heads(x, num_heads, key_dim), torch.promote_types(x.dtype, state.dtype)
    q, k = (x.new_empty((B, T, num_heads, key_dim), dtype=dtype) for _ in range(2))
    v, after = x.new_empty((B, T, num_heads, size["V"]), dtype=dtype), torch.empty_like(state)
    _qkv[(triton.cdiv(B * T, size["BLOCK_N"]) * num_heads,)](
        x, weight, state, start.view(torch.uint8), q, k, v, after,
        B * T, T, C, W=weight.shape[1], UNIT=unit, **size,
    )  # fmt: skip
    return q, k, v, after


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        ctx.save_for_backward(*inputs)
        return _run_norm(*inputs)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        x, weight, gate = ctx.saved_tensors
        x, weight, gate = x.contiguous(), weight.contiguous(), None if gate is None else gate.contiguous()
        V = weight.numel()
        N = x.numel() // V
        size = _cut(N, V)
        tiles = triton.cdiv(N, size["BLOCK_N"])
        each = triton.cdiv(tiles, PROGRAMS)
        programs = triton.cdiv(tiles, each)
        dx, dgate = torch.empty_like(x), None if gate is None else torch.empty_like(gate)
        dweight = x.new_empty((programs, V), dtype=_wide(dy))
        _norm_backward[(programs,)](x, weight, gate, dy.contiguous(), dx, dweight, dgate, N, V, each, **size)
        return dx, dweight.sum(0).to(weight.dtype), dgate


def _run_norm(x: Tensor, weight: Tensor, gate: Tensor | None) -> Tensor:
    x, weight = x.detach().contiguous(), weight.detach().contiguous()
    dtype, V = torch.promote_types(x.dtype, weight.dtype), weight.numel()
    if gate is not None:
        gate, dtype = gate.detach().contiguous(), torch.promote_types(dtype, gate.dtype)
    y, N = torch.empty_like(x, dtype=dtype), x.numel() // V
    size = _cut(N, V)
    _norm[(triton.cdiv(N, size["BLOCK_N"]),)](x, weight, gate, y, N, V, **size)
    return y


class _GatedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        ctx.save_for_backward(*inputs)
        return _run_linear(*inputs)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        z, E = ctx.saved_tensors[0].contiguous(), dy.shape[-1]
        dz, N = torch.empty_like(z), dy.numel() // E
        size, programs = _parts(N, E)
        _linear_backward[(programs,)](z, dy.contiguous(), dz, N, E, **size)
        return dz


def _run_linear(z: Tensor) -> Tensor:
    z, E = z.detach().contiguous(), z.shape[-1] // 2
    y, N = z.new_empty((*z.shape[:-1], E)), z.numel() // (2 * E)
    size, programs = _parts(N, E)
    _linear[(programs,)](z, y, N, E, **size)
    return y


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _cut(rows: int, width: int, groups: int = 1, widest: int = WIDEST) -> dict[str, int]:
    """Return the sizes of a program's tile as keyword arguments of the kernels.

    Args:
        rows: of all programs.
        width: channels of a row.
        groups: programs that share a row.
        widest: channels from which a row is given to more than one program.
    """
    block = min(triton.next_power_of_2(width), widest)
    shared = triton.next_power_of_2(max(1, triton.cdiv(rows * groups, PROGRAMS)))
    block_n = min(max(1, TILE // block), shared)
    return {"BLOCK_N": block_n, "BLOCK": block, "num_warps": min(16, max(4, block_n * block * 4 // TILE))}


def _parts(rows: int, width: int) -> tuple[dict[str, int], int]:
    """Return the tile sizes of elementwise kernels, and the number of programs."""
    size = _cut(rows, width, widest=TILE // 16)
    parts = triton.cdiv(width, size["BLOCK"])
    return size | {"PARTS": parts}, triton.cdiv(rows, size["BLOCK_N"]) * parts


def _heads(x: Tensor, H: int, K: int) -> dict[str, int]:
    """Return the sizes of the heads, and of the tile that a program has of each of a head's three vectors."""
    B, T, C = x.shape
    V = C // H - 2 * K
    size = _cut(B * T, max(K, V), groups=H)
    return {"H": H, "K": K, "V": V, "BLOCK_N": size["BLOCK_N"], "BLOCK_K": triton.next_power_of_2(K),
            "BLOCK_V": triton.next_power_of_2(V), "num_warps": size["num_warps"]}  # fmt: skip


# Below, `row` and all row-wise values are [BLOCK_N, 1], channels [1, BLOCK]; `there` masks the rows that
# exist, `own` the channels. Row b T + t is step t of life b.


@triton.jit
def _load(x, place, inside):
    """Load numbers as float32 or wider, 0 where they are not inside."""
    return tl.load(x + place, mask=inside, other=0) + tl.zeros([1, 1], tl.float32)


@triton.jit
def _sigmoid(x):
    small = tl.exp(-tl.abs(x))  # at most 1
    return tl.where(x < 0, small, 1.0) / (1.0 + small)


@triton.jit
def _same_life(start, row, t, T, there):
    """Return where no life starts at step t; a step outside of [0, T) starts none."""
    return tl.load(start + row, mask=there & (t >= 0) & (t < T), other=0) == 0


@triton.jit
def _input(x, window, row, b, t, i, c, seen, C, W):
    """Load the inputs of i steps before, 0 where masked."""
    new = _load(x, (row - i) * C + c, seen & (t >= i))
    old = _load(window, (b * (W - 1) + W - 1 + t - i) * C + c, seen & (t < i))
    return new + old


@triton.jit
def _head(
    x, weight, window, start, y, after, row, there, first, h, own, j, T, C, H, K,
    UNIT: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Write one vector of a head, and after the last step the window of its channels; they begin at `first`."""
    b, t, c = row // T, row % T, first + j
    seen = there & own
    s = tl.zeros([1, 1], tl.float32)
    for i in tl.static_range(W):
        if i > 0:
            seen = seen & _same_life(start, row - i + 1, t - i + 1, T, there)
        old = _input(x, window, row, b, t, i, c, seen, C, W)
        s = s + old * _load(weight, c * W + W - 1 - i, own)
        if i < W - 1:
            tl.store(after + (b * (W - 1) + W - 2 - i) * C + c, old, mask=there & own & (t == T - 1))
    s *= _sigmoid(s)
    if UNIT:
        s *= tl.rsqrt(tl.sum(s * s, 1) + TINY)[:, None]
    tl.store(y + (row * H + h) * K + j, s, mask=there & own)


@triton.jit
def _head_backward(
    x, weight, window, start, dy, dz, dweight, piece, row, there, first, h, own, j, T, C, H, K,
    UNIT: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Write the gradients of one vector's channels before SiLU, and of their convolution weights."""
    b, t, c = row // T, row % T, first + j
    seen = there & own
    z = tl.zeros([1, 1], tl.float32)
    for i in tl.static_range(W):
        if i > 0:
            seen = seen & _same_life(start, row - i + 1, t - i + 1, T, there)
        z = z + _input(x, window, row, b, t, i, c, seen, C, W) * _load(weight, c * W + W - 1 - i, own)
    sigma = _sigmoid(z)
    d = _load(dy, (row * H + h) * K + j, there & own)
    if UNIT:
        s = z * sigma
        n = tl.rsqrt(tl.sum(s * s, 1) + TINY)[:, None]
        d = n * (d - s * (n * n * tl.sum(s * d, 1)[:, None]))
    d *= sigma * (1.0 + z * (1.0 - sigma))
    tl.store(dz + row * C + c, d, mask=there & own)
    seen = there & own
    for i in tl.static_range(W):
        if i > 0:
            seen = seen & _same_life(start, row - i + 1, t - i + 1, T, there)
        total = tl.sum(d * _input(x, window, row, b, t, i, c, seen, C, W), 0)[None, :]
        tl.store(dweight + (piece * W + W - 1 - i) * C + c, total, mask=own)


@triton.jit
def _qkv(
    x, weight, window, start, q, k, v, after, N, T, C, H, K, V,
    W: tl.constexpr, UNIT: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    piece, h = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    row = piece * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
    there, j, i = row < N, tl.arange(0, BLOCK_K)[None, :], tl.arange(0, BLOCK_V)[None, :]
    _head(x, weight, window, start, q, after, row, there, h * K, h, j < K, j, T, C, H, K, UNIT, W)
    _head(x, weight, window, start, k, after, row, there, (H + h) * K, h, j < K, j, T, C, H, K, UNIT, W)
    _head(x, weight, window, start, v, after, row, there, 2 * H * K + h * V, h, i < V, i, T, C, H, V, False, W)


@triton.jit
def _qkv_backward(
    x, weight, window, start, dq, dk, dv, dz, dweight, N, T, C, H, K, V,
    W: tl.constexpr, UNIT: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    piece, h = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    row = piece * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
    there, j, i = row < N, tl.arange(0, BLOCK_K)[None, :], tl.arange(0, BLOCK_V)[None, :]
    _head_backward(
        x, weight, window, start, dq, dz, dweight, piece, row, there, h * K, h, j < K, j, T, C, H, K, UNIT, W
    )
    _head_backward(
        x, weight, window, start, dk, dz, dweight, piece, row, there, (H + h) * K, h, j < K, j, T, C, H, K, UNIT, W
    )
    _head_backward(
        x,
        weight,
        window,
        start,
        dv,
        dz,
        dweight,
        piece,
        row,
        there,
        2 * H * K + h * V,
        h,
        i < V,
        i,
        T,
        C,
        H,
        V,
        False,
        W,
    )


@triton.jit
def _conv_backward(
    dz, weight, start, dafter, dx, dwindow, N, T, C, PARTS,
    W: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradients of all inputs, those of the window first: time runs from -(W - 1) to T - 1."""
    piece, part = (tl.program_id(0) // PARTS).to(tl.int64), tl.program_id(0) % PARTS
    place = piece * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
    c = part * BLOCK + tl.arange(0, BLOCK)[None, :]
    b, t, there, own = place // (T + W - 1), place % (T + W - 1) - (W - 1), place < N, c < C
    reached = there & own
    d = tl.zeros([1, 1], tl.float32)
    for i in tl.static_range(W):
        if i > 0:
            reached = reached & _same_life(start, b * T + t + i, t + i, T, there)
        out = _load(dz, (b * T + t + i) * C + c, reached & (t + i >= 0) & (t + i < T))
        d = d + out * _load(weight, c * W + W - 1 - i, own)
    d = d + _load(dafter, (b * (W - 1) + W - 1 - T + t) * C + c, reached & (t + W - 1 >= T))
    tl.store(dx + (b * T + t) * C + c, d, mask=there & own & (t >= 0))
    tl.store(dwindow + (b * (W - 1) + W - 1 + t) * C + c, d, mask=there & own & (t < 0))


@triton.jit
def _norm(x, weight, gate, y, N, V, BLOCK_N: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    place, inside = row * V + i, (row < N) & (i < V)
    n = _load(x, place, inside)
    n *= tl.rsqrt(tl.sum(n * n, 1) / V + EPS)[:, None]
    n = n * _load(weight, i, i < V)
    if gate is not None:
        g = _load(gate, place, inside)
        n = n * g * _sigmoid(g)
    tl.store(y + place, n, mask=inside)


@triton.jit
def _norm_backward(x, weight, gate, dy, dx, dweight, dgate, N, V, EACH, BLOCK_N: tl.constexpr, BLOCK: tl.constexpr):
    piece, i = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)[None, :]
    w = _load(weight, i, i < V)
    total = tl.zeros([1, BLOCK], dweight.dtype.element_ty)
    for tile in range(EACH):
        row = (piece * EACH + tile) * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
        place, inside = row * V + i, (row < N) & (i < V)
        n, d = _load(x, place, inside), _load(dy, place, inside)
        r = tl.rsqrt(tl.sum(n * n, 1) / V + EPS)[:, None]
        n *= r
        if gate is not None:
            g = _load(gate, place, inside)
            sigma = _sigmoid(g)
            tl.store(dgate + place, d * n * w * sigma * (1.0 + g * (1.0 - sigma)), mask=inside)
            d = d * g * sigma
        total += tl.sum(d * n, 0)[None, :]
        d = d * w
        tl.store(dx + place, r * (d - n * (tl.sum(d * n, 1) / V)[:, None]), mask=inside)
    tl.store(dweight + piece * V + i, total, mask=i < V)


@triton.jit
def _linear(z, y, N, E, PARTS, BLOCK_N: tl.constexpr, BLOCK: tl.constexpr):
    piece, part = (tl.program_id(0) // PARTS).to(tl.int64), tl.program_id(0) % PARTS
    row = piece * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
    c = part * BLOCK + tl.arange(0, BLOCK)[None, :]
    left, inside = 2 * row * E + c, (row < N) & (c < E)
    g = _load(z, left, inside)
    tl.store(y + row * E + c, g * _sigmoid(g) * _load(z, left + E, inside), mask=inside)


@triton.jit
def _linear_backward(z, dy, dz, N, E, PARTS, BLOCK_N: tl.constexpr, BLOCK: tl.constexpr):
    piece, part = (tl.program_id(0) // PARTS).to(tl.int64), tl.program_id(0) % PARTS
    row = piece * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
    c = part * BLOCK + tl.arange(0, BLOCK)[None, :]
    left, inside = 2 * row * E + c, (row < N) & (c < E)
    g, d = _load(z, left, inside), _load(dy, row * E + c, inside)
    sigma = _sigmoid(g)
    tl.store(dz + left, d * _load(z, left + E, inside) * sigma * (1.0 + g * (1.0 - sigma)), mask=inside)
    tl.store(dz + left + E, d * g * sigma, mask=inside)
