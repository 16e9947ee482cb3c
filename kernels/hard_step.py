"""Heaviside step with a surrogate gradient: 1 above zero, 0 elsewhere."""

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import TransformType
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters

from lifelong.kernels.backends import transformed

__all__ = ["hard_step"]

REFUSAL = "a hard step has a surrogate gradient, which has no derivative: no second derivatives"


def hard_step(x: Tensor) -> Tensor:
    """Return 1 where x > 0, else 0, with the gradient 4 s (1 - s), s = sigmoid(x): that of x at 0, fading with |x|.

    Args:
        x: [...] distances from the threshold.

    Raises:
        RuntimeError: under a second derivative, by `create_graph=True` or by a `torch.func.grad` of another.
    """
    if torch.compiler.is_compiling():
        soft = 4 * x.sigmoid()
        return (x > 0).to(x.dtype) + (soft - soft.detach())
    levels = retrieve_all_functorch_interpreters() if transformed() else []
    if sum(level.key() == TransformType.Grad for level in levels) > 1:
        raise RuntimeError(REFUSAL)
    step: Tensor = _HardStep.apply(x, not levels)  # type: ignore[no-untyped-call]
    return step


class _HardStep(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, eager: bool) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.eager = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        if ctx.eager and torch.is_grad_enabled():  # only under create_graph=True
            raise RuntimeError(f"create_graph=True: {REFUSAL}")
        s = ctx.saved_tensors[0].sigmoid()
        return 4 * s * (1 - s) * grads[0], None
