r"""The short convolution in one launch over all steps; arguments as in `reference.py`.

A program takes a block of channels of one life through the steps, with their weights in registers, [BLOCK_D, BLOCK_W].
Time runs from -(W - 1), the oldest input of the window, to T - 1. Backward goes through it from the end: an input
reached the outputs of the `ahead` steps after it, those of the same life, so that for all ages i at once

    g[i] = dy_{s+i}, 0 where i > ahead    dx_s = sum_i weight[:, W-1-i] g[i]    dweight[:, W-1-i] += g[i] x_s

and dx_s has the gradient of its place in the last window besides, unless a life starts after it.
Traffic at T = 1: the window once in and once out, x and the weights once in, y once out.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once

__all__ = ["short_conv"]

BLOCK = 128  # channels in a program: one for each thread of four warps


def short_conv(x: Tensor, weight: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `reference.short_conv` in one launch; sums in float32 or wider, differentiable once."""
    if torch.is_grad_enabled() and any(z.requires_grad for z in (x, weight, state)):
        made: tuple[Tensor, Tensor] = _ShortConv.apply(x, weight, state, start)  # type: ignore[no-untyped-call]
        return made
    return _run(x, weight, state, start)


class _ShortConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*inputs)
        return _run(*inputs)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dafter: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        x, weight, state, start = (z.contiguous() for z in ctx.saved_tensors)
        dx, dstate, size = torch.empty_like(x), torch.empty_like(state), _block(x, weight)
        dweight = x.new_empty((len(x), *weight.shape), dtype=_wide(state))  # each life sums its own
        _backward[(len(x) * size["BLOCKS"],)](
            x, weight, state, start.view(torch.uint8), dy.contiguous(), dafter.contiguous(), dx, dweight, dstate,
            x.shape[1], **size,
        )  # fmt: skip
        return dx, dweight.sum(0).to(weight.dtype), dstate, None


def _run(x: Tensor, weight: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    x, weight, state, start = (z.detach().contiguous() for z in (x, weight, state, start))
    y, after = torch.empty_like(x, dtype=torch.promote_types(x.dtype, state.dtype)), torch.empty_like(state)
    size = _block(x, weight)
    # Sums have the dtype of the loaded weights, which is no narrower than the window's.
    _forward[(len(x) * size["BLOCKS"],)](
        x, weight.to(_wide(state)), state, start.view(torch.uint8), y, after, x.shape[1], **size
    )
    return y, after


def _wide(state: Tensor) -> torch.dtype:
    return torch.promote_types(state.dtype, torch.float32)


def _block(x: Tensor, weight: Tensor) -> dict[str, int]:
    """Return the sizes of the window and its tiles as keyword arguments of the kernels."""
    D, W = weight.shape
    block_d = min(BLOCK, triton.next_power_of_2(D))
    return {"D": D, "W": W, "BLOCKS": triton.cdiv(D, block_d), "BLOCK_D": block_d, "BLOCK_W": triton.next_power_of_2(W)}


# Below, i are ages: the input i steps before an output. Time s < 0 is row W - 1 + s of the window.


@triton.jit
def _inputs(x, window, b, s, seen, d, T, D, W, like):
    """Load the inputs at times s, 0 where masked."""
    new = tl.load(x + (b * T + s) * D + d, mask=seen & (s >= 0), other=0).to(like.dtype)
    old = tl.load(window + (b * (W - 1) + W - 1 + s) * D + d, mask=seen & (s < 0), other=0).to(like.dtype)
    return new + old


@triton.jit
def _forward(
    x, weight, window, start, y, after, T,
    D, BLOCKS, W: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    b, part = (tl.program_id(0) // BLOCKS).to(tl.int64), tl.program_id(0) % BLOCKS
    channel, age = part * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_W)
    d, i = channel[:, None], age[None, :]
    inside = (d < D) & (i < W)
    w = tl.load(weight + d * W + W - 1 - i, mask=inside, other=0)
    past = W - 1
    for t in range(T):
        past = tl.where(tl.load(start + b * T + t) != 0, 0, past)
        seen = _inputs(x, window, b, t - i, inside & (i <= past), d, T, D, W, w)
        tl.store(y + (b * T + t) * D + channel, tl.sum(seen * w, 1), mask=channel < D)
        past = tl.minimum(past + 1, W - 1)
    # The window after the last step: age i from the next step on, without age 0, its own input.
    kept = _inputs(x, window, b, T - i, inside & (i > 0) & (i <= past), d, T, D, W, w)
    tl.store(after + (b * (W - 1) + W - 1 - i) * D + d, kept, mask=inside & (i > 0))


@triton.jit
def _backward(
    x, weight, window, start, dy, dafter, dx, dweight, dwindow, T,
    D, BLOCKS, W: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    b, part = (tl.program_id(0) // BLOCKS).to(tl.int64), tl.program_id(0) % BLOCKS
    channel, age = part * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_W)
    d, i = channel[:, None], age[None, :]
    inside = (d < D) & (i < W)
    place = d * W + W - 1 - i
    total = tl.zeros([BLOCK_D, BLOCK_W], dweight.dtype.element_ty)
    w = tl.load(weight + place, mask=inside, other=0).to(total.dtype)
    ahead, last = 0, 1  # steps after s of the same life; is the last step one of them?
    for n in range(T + W - 1):
        s = T - 1 - n
        new = tl.load(start + b * T + s + 1, mask=(s + 1 >= 0) & (s + 1 < T), other=0) != 0
        ahead, last = tl.where(new, 0, tl.minimum(ahead + 1, W - 1)), tl.where(new, 0, last)
        reached = inside & (i <= ahead) & (s + i >= 0) & (s + i < T)
        g = tl.load(dy + (b * T + s + i) * D + d, mask=reached, other=0).to(total.dtype)
        at = s + tl.zeros([BLOCK_D], tl.int32)
        own = _inputs(x, window, b, at, channel < D, channel, T, D, W, total)
        total += tl.where(reached, g * own[:, None], 0.0)
        back = tl.sum(g * w, 1)
        in_window = (channel < D) & (T - at < W * last)
        back += tl.load(dafter + (b * (W - 1) + W - 1 - T + s) * D + channel, mask=in_window, other=0).to(total.dtype)
        tl.store(dx + (b * T + s) * D + channel, back, mask=(channel < D) & (at >= 0))
        tl.store(dwindow + (b * (W - 1) + W - 1 + s) * D + channel, back, mask=(channel < D) & (at < 0))
    tl.store(dweight + b * D * W + place, total, mask=inside)
