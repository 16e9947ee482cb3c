r"""The short convolution as a compiled loop; arguments as in `reference.py`.

Notation: at step t the `past` inputs before it are of the same life, no more than W - 1.

    y_t = sum_{i<=past} weight[:, W-1-i] x_{t-i}      dx_{t-i} += weight[:, W-1-i] dy_t
                                                      dweight[:, W-1-i] += dy_t x_{t-i}
    window = the last inputs of this life, 0 before   dx of those += dwindow

Inputs of an earlier life are never read, so they may be NaN.
"""

from typing import Any

import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["short_conv"]


def short_conv(x: Tensor, weight: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `reference.short_conv` in one compiled loop; float32 or float64, differentiable once."""
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
        dx, dstate = torch.empty_like(x), torch.empty_like(state)
        dweight = x.new_zeros(len(x), weight.shape[1], x.shape[2])  # each life sums its own
        dy, dafter = dy.contiguous(), dafter.contiguous()
        arrays = rows(x.dtype, x, weight.mT.contiguous(), state, start, dy, dafter, dx, dstate, dweight)
        spread(_backward, len(x), 2 * weight.shape[1] * x[0].numel(), arrays)
        return dx, dweight.sum(0).mT, dstate, None


def _run(x: Tensor, weight: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    x, weight, state, start = (z.detach().contiguous() for z in (x, weight, state, start))
    y, after = torch.empty_like(x), torch.empty_like(state)
    arrays = rows(x.dtype, x, weight.mT.contiguous(), state, start, y, after)
    spread(_forward, len(x), weight.shape[1] * x[0].numel(), arrays)
    return y, after


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`."""
    x, weight, window, start, y, after = arrays
    T, W = start.shape[1], weight.shape[0]
    for b in range(first, last):
        past, old = W - 1, b * (W - 1)
        for t in range(T):
            row = b * T + t
            if start[b, t]:
                past = 0
            for c in range(x.shape[1]):
                y[row, c] = weight[W - 1, c] * x[row, c]
            for i in range(1, past + 1):
                if i <= t:
                    _add_product(y, row, weight, W - 1 - i, x, row - i)
                else:
                    _add_product(y, row, weight, W - 1 - i, window, old + W - 1 + t - i)
            past = min(past + 1, W - 1)
        for i in range(1, W):  # the input i - 1 steps before the last
            at = old + W - 1 - i
            for c in range(x.shape[1]):
                if i > past:
                    after[at, c] = 0
                elif i <= T:
                    after[at, c] = x[(b + 1) * T - i, c]
                else:
                    after[at, c] = window[old + W - 1 + T - i, c]


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; `dweight` comes as zeros."""
    x, weight, window, start, dy, dafter, dx, dwindow, dweight = arrays
    T, W = start.shape[1], weight.shape[0]
    for b in range(first, last):
        past, old, newest = W - 1, b * (W - 1), b * W + W - 1
        dwindow[old : old + W - 1] = 0
        dx[b * T : (b + 1) * T] = 0
        for t in range(T):
            row = b * T + t
            if start[b, t]:
                past = 0
            for i in range(past + 1):
                if i <= t:
                    _add_product(dx, row - i, weight, W - 1 - i, dy, row)
                    _add_product(dweight, newest - i, dy, row, x, row - i)
                else:
                    at = old + W - 1 + t - i
                    _add_product(dwindow, at, weight, W - 1 - i, dy, row)
                    _add_product(dweight, newest - i, dy, row, window, at)
            past = min(past + 1, W - 1)
        for i in range(1, past + 1):
            for c in range(x.shape[1]):
                if i <= T:
                    dx[(b + 1) * T - i, c] += dafter[old + W - 1 - i, c]
                else:
                    dwindow[old + W - 1 + T - i, c] += dafter[old + W - 1 - i, c]


@jit
def _add_product(total: Array, at: int, left: Array, n: int, right: Array, m: int) -> None:
    for c in range(total.shape[1]):
        total[at, c] += left[n, c] * right[m, c]
