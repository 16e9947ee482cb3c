"""Compiled backward passes: differentiated once, and refused by name where more is asked."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["differentiable_once"]


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the backward pass of an autograd function that has no derivative: `create_graph=True` raises there.

    torch's `once_differentiable` raises later, at the second derivative, but not in `torch.autograd.grad`, nor where
    the incoming gradient is a constant (as of a sum): there a part of the second derivative is missing, silently.
    """
    kernel = backward.__module__.removeprefix("lifelong.kernels.").split(".")[0]

    @functools.wraps(backward)
    def once(ctx: Any, *grads: Tensor) -> Any:
        if torch.is_grad_enabled():  # only under create_graph=True
            raise RuntimeError(
                f"create_graph=True: the backward pass of {kernel} is compiled and cannot be differentiated again; "
                "torch.func.grad runs memories in plain torch, to any order"
            )
        return backward(ctx, *grads)

    return once
