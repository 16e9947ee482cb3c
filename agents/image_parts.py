"""Images read in parts, each once more in the backward pass: one part's activations are kept at a time.

`torch.utils.checkpoint` of every part does the same with twice the memory: it keeps small nodes of the graph between
the large blocks that parts free, and the gradient of a large linear map once for itself and once for its sum.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["read_in_parts"]


def read_in_parts(
    parts: Sequence[Callable[[], Tensor]], features: Callable[[Tensor], Tensor], convs: nn.Module, linear: nn.Linear
) -> Tensor:
    """Return linear(features(part)) of all parts, [N, D]; gradients reach the parameters only, and once.

    Args:
        parts: each makes a part of the images, [n, ...].
        features: maps a part to [n, M] by `convs`; draws no random numbers.
        convs: whose parameters `features` has.
        linear: of M to D.
    """
    read: Tensor = _Parts.apply(parts, features, linear.weight, linear.bias, *convs.parameters())  # type: ignore[no-untyped-call]
    return read


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        parts: Sequence[Callable[[], Tensor]],
        features: Callable[[Tensor], Tensor],
        weight: Tensor,
        bias: Tensor,
        *inner: Tensor,
    ) -> Tensor:
        ctx.parts, ctx.features = parts, features
        ctx.save_for_backward(weight, *inner)
        return torch.cat([nn.functional.linear(features(part()), weight, bias) for part in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        weight, *inner = ctx.saved_tensors
        dweight, sums, first = torch.zeros_like(weight), [torch.zeros_like(x) for x in inner], 0
        for part in ctx.parts:
            with torch.enable_grad():
                found = ctx.features(part())
            mine = dy[first : first + len(found)].to(found.dtype)  # under autocast the forward pass was in half
            first += len(found)
            dweight.addmm_(mine.T, found.detach())
            for total, some in zip(sums, torch.autograd.grad(found, inner, mine @ weight), strict=True):
                total += some
            del found  # before the next part needs room
        return None, None, dweight, dy.sum(0).to(weight.dtype), *sums
