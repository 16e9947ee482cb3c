r"""The layer's step in one launch; arguments as in `reference.py`, no gradients.

A program holds one head of one life: its channels of the window, and its whole matrix, which is read once and written
once. With the two projections around it a layer's step is three launches.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from lifelong.kernels.in_place import next_state

__all__ = ["layer_step"]

EPS = tl.constexpr(1e-5)
TINY = tl.constexpr(1e-6)


@torch.no_grad()
def layer_step(
    z: Tensor, bias: Tensor, conv: Tensor, norm: Tensor, window: Tensor, state: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.layer_step` in one launch, without gradients; the state in float32 or wider."""
    B, H, V, K = state.shape
    window, state = next_state(window), next_state(state)
    y = z.new_empty(B, H * V)
    _step[(B * H,)](
        z.contiguous(), bias.contiguous(), conv.contiguous(), norm.contiguous(), window,
        start.contiguous().view(torch.uint8), y, state, H, K, V, TAPS=conv.shape[1],
        BLOCK_K=triton.next_power_of_2(K), BLOCK_V=triton.next_power_of_2(V),
    )  # fmt: skip
    return y, window, state


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _mixed(z, conv, window, c, inside, b, C, N, fresh, like, TAPS: tl.constexpr):
    """Return SiLU of the convolution of some channels, and move their window on."""
    present = tl.load(z + b * N + c, mask=inside, other=0).to(like.dtype)
    total = present * tl.load(conv + c * TAPS + TAPS - 1, mask=inside, other=0).to(like.dtype)
    for tap in tl.static_range(TAPS - 1):
        place = window + (b * (TAPS - 1) + tap) * C + c
        old = tl.where(fresh, 0.0, tl.load(place, mask=inside, other=0).to(like.dtype))
        total += old * tl.load(conv + c * TAPS + tap, mask=inside, other=0).to(like.dtype)
        if tap > 0:
            tl.store(place - C, old, mask=inside)
    if TAPS > 1:
        tl.store(window + (b * (TAPS - 1) + TAPS - 2) * C + c, present, mask=inside)
    return total * _sigmoid(total)


@triton.jit
def _step(
    z, bias, conv, norm, window, start, y, state,
    H, K, V, TAPS: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    b, h = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    C = H * (2 * K + V)
    N = C + 2 * H + H * V
    i, j = tl.arange(0, BLOCK_V), tl.arange(0, BLOCK_K)
    own, inside = ((b * H + h) * V + i[:, None]) * K + j[None, :], (i < V)[:, None] & (j < K)[None, :]
    fresh = tl.load(start + b) != 0
    S = tl.where(fresh, 0.0, tl.load(state + own, mask=inside, other=0))
    q = _mixed(z, conv, window, h * K + j, j < K, b, C, N, fresh, S, TAPS)
    k = _mixed(z, conv, window, (H + h) * K + j, j < K, b, C, N, fresh, S, TAPS)
    v = _mixed(z, conv, window, 2 * H * K + h * V + i, i < V, b, C, N, fresh, S, TAPS)
    q, k = q * tl.rsqrt(tl.sum(q * q, 0) + TINY), k * tl.rsqrt(tl.sum(k * k, 0) + TINY)
    gates = z + b * N + C + h
    beta = _sigmoid((tl.load(gates) + tl.load(bias + h)).to(S.dtype))
    a = _sigmoid(-(tl.load(gates + H) + tl.load(bias + H + h)).to(S.dtype))  # exp(-softplus(x)) = sigmoid(-x)
    S *= a
    S += (beta * (v - tl.sum(S * k[None, :], 1)))[:, None] * k[None, :]
    tl.store(state + own, S, mask=inside)
    read = tl.sum(S * q[None, :], 1)
    read *= tl.rsqrt(tl.sum(read * read, 0) / V + EPS) * tl.load(norm + i, mask=i < V, other=0).to(S.dtype)
    gate = tl.load(z + b * N + C + 2 * H + h * V + i, mask=i < V, other=0).to(S.dtype)
    tl.store(y + (b * H + h) * V + i, read * gate * _sigmoid(gate), mask=i < V)
