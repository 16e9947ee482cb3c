r"""Single step of a gated delta layer between its two projections.

    q, k, v = SiLU(conv(z_c)), q and k at length 1      the window moves on by one input
    beta = sigmoid(z_beta + b_beta),  a = exp(-softplus(z_a + b_a))
    S <- a S,  S <- S + beta (v - S k) k^T              S and the window start from 0 where a life starts
    y = rmsnorm(S q) * weight * SiLU(z_g)

Shapes: B lives, H heads, K key dim, V value dim, C = H (2 K + V) channels, W conv size;
z = [z_c (C) | z_beta (H) | z_a (H) | z_g (H V)], the output of the layer's in-projection.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.arguments import examine
from lifelong.kernels.fast_weight.reference import fast_weight
from lifelong.kernels.fused.reference import gated_norm, qkv

__all__ = ["check", "layer_step"]


def layer_step(
    z: Tensor, bias: Tensor, conv: Tensor, norm: Tensor, window: Tensor, state: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the layer's step.

    Args:
        z: [B, C + 2 H + H V] inputs of the convolution, of the gates and of the output gate.
        bias: [2 H] of the gates.
        conv: [C, W] weights, oldest step first.
        norm: [V] weight of the norm.
        window: [B, W - 1, C] inputs of the convolution before this step, oldest first.
        state: [B, H, V, K] the matrices before this step.
        start: [B] bool, true where this step is the first of a life.

    Returns:
        y: [B, H V] inputs of the out-projection.
        window: [B, W - 1, C] after this step.
        state: [B, H, V, K] after this step.
    """
    _, H, V, K = state.shape
    mixed, beta, fade, gate = z[:, None].split([conv.shape[0], H, H, H * V], -1)
    q, k, v, window = qkv(mixed, conv, window, start[:, None], H, K)
    rate, decay = torch.sigmoid(beta + bias[:H]), -functional.softplus(fade + bias[H:])
    y, state = fast_weight(q, k, v, state, start[:, None], decay=decay, rate=rate)
    return gated_norm(y, norm, gate.view(y.shape)).flatten(1), window, state


def check(z: Tensor, bias: Tensor, conv: Tensor, norm: Tensor, window: Tensor, state: Tensor, start: Tensor) -> None:
    """Validate shapes and dtypes.

    Raises:
        ValueError: naming the argument, its shape and the shape wanted.
    """
    if state.ndim != 4 or conv.ndim != 2:
        raise ValueError(f"state must be [B, H, V, K] and conv [C, W], got {list(state.shape)} and {list(conv.shape)}")
    B, H, V, K = state.shape
    C, W = H * (2 * K + V), conv.shape[1]
    for name, tensor, shape in (
        ("z", z, [B, C + 2 * H + H * V]),
        ("bias", bias, [2 * H]),
        ("conv", conv, [C, W]),
        ("norm", norm, [V]),
        ("window", window, [B, W - 1, C]),
        ("start", start, [B]),
    ):
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine(
        {"z": z, "bias": bias, "conv": conv, "norm": norm, "window": window, "state": state, "start": start},
        states=("window", "state"),
    )
