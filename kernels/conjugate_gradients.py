r"""Symmetric positive linear systems solved by conjugate gradients, with the gradient of the exact solution.

    A r = q,    dr = A^-1 (dq - dA r)            one more solve with the same A: implicit differentiation

Both are exact where the iterations suffice: K of them always do without rounding, far fewer if A is well conditioned.

Shapes: K unknowns; any leading sizes, each a system of its own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lifelong.kernels.backends import transformed
from lifelong.kernels.differentiable_once import differentiable_once

__all__ = ["conjugate_gradients", "solve"]


def solve(
    A: Callable[[Tensor], Tensor],
    q: Tensor,
    least: float,
    iterations: int,
    compiled: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return r with A r = q, differentiable in q and in whatever A depends on.

    Args:
        A: linear map of [..., K], symmetric and positive along the last axis.
        q: [..., K] right-hand sides.
        least: a lower bound of A's eigenvalues.
        iterations: how many.
        compiled: these iterations in one call, from right-hand sides to solutions, without gradients; None for
            one call of A after the other.
    """

    def inverse(q: Tensor) -> Tensor:
        with torch.no_grad():
            if compiled is not None:
                return compiled(q)
            return conjugate_gradients(A, q, least, iterations)

    if transformed():
        return conjugate_gradients(A, q, least, iterations)  # differentiated iteration by iteration
    r = inverse(q)
    if not torch.is_grad_enabled():
        return r
    exact: Tensor = _Root.apply(q - A(r), r, inverse)  # type: ignore[no-untyped-call]
    return exact


def conjugate_gradients(A: Callable[[Tensor], Tensor], q: Tensor, least: float, iterations: int) -> Tensor:
    """Solve A r = q by conjugate gradients.

    Args:
        A: linear map of [..., K], symmetric and positive along the last axis.
        q: [..., K] right-hand sides, each solved for itself.
        least: a lower bound of A's eigenvalues: rounding may not take p A p below `least` |p|^2.
        iterations: number of iterations; none has an effect once the residual is zero.
    """
    tiny = torch.finfo(q.dtype).tiny ** (0.3 if transformed() else 1)  # its inverse has derivatives, for torch.func
    r, rest, direction = torch.zeros_like(q), q, q
    square = rest.square().sum(-1, keepdim=True)
    for _ in range(iterations):
        mapped = A(direction)
        curved = (direction * mapped).sum(-1, keepdim=True)
        size = square / torch.maximum(curved, least * direction.square().sum(-1, keepdim=True)).clamp(min=tiny)
        r, rest = r + size * direction, rest - size * mapped
        before, square = square, rest.square().sum(-1, keepdim=True)
        direction = rest + square / before.clamp(min=tiny) * direction
    return r


class _Root(torch.autograd.Function):
    """The root r of the residual q - A r: dr = A^-1 d(residual), A symmetric."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, r: Tensor, inverse: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.inverse = inverse
        return r.clone()

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.inverse(grads[0]), None, None
