"""Products of matrices in bfloat16: factors have 8 bits each, sums and all that is kept have float32.

    y = bf16(x) bf16(W)^T + b        and in the backward pass the same of both products

Source: Kalamkar et al. 2019, "A Study of BFLOAT16 for Deep Learning Training", arXiv:1905.12322.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["BF16Products", "has_bf16", "linear"]


class BF16Products(TorchFunctionMode):
    """While it lasts, `torch.nn.functional.linear` of float32 multiplies in bfloat16, and returns float32."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch's, or `linear` in its place."""
        if func is functional.linear and args[0].dtype is torch.float32:
            return linear(
                *args, **(kwargs or {})
            )  # nn.Linear and `functional.linear` of ours name nothing but the bias
        return func(*args, **(kwargs or {}))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map [..., N] to [..., M] by a weight [M, N] and a bias [M], with products in bfloat16."""
    y: Tensor = _Linear.apply(x, weight)  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias


def has_bf16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices in bfloat16 by instructions of its own."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "amx_tile", "bf16"))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        return functional.linear(x, weight).float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        dy = grads[0].bfloat16()
        dx = (dy @ weight).float() if ctx.needs_input_grad[0] else None
        dw = (dy.reshape(-1, dy.shape[-1]).T @ x.reshape(-1, x.shape[-1])).float() if ctx.needs_input_grad[1] else None
        return dx, dw
