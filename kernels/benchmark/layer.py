r"""Gated delta layer of kernels and torch alone, for acting without `lifelong.memory`.

q, k, v = SiLU(conv(W x)), q and k of unit length;  log alpha = -softplus(W x + b);  beta = sigmoid(W x)
y = W rmsnorm(fast_weight(q, k, v)) * SiLU(W x)
"""

import torch
from torch import Tensor, nn

from lifelong.kernels.layer_step import layer_step

__all__ = ["GatedDeltaLayer"]

Carried = tuple[Tensor, Tensor]


class GatedDeltaLayer(nn.Module):
    """Gated delta layer: projections, short convolution, `fast_weight`, norm and gate.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H.
        key_dim: K.
        value_dim: V.
        conv_size: W, steps the short convolution reads.
    """

    def __init__(self, width: int, num_heads: int, key_dim: int, value_dim: int, conv_size: int = 2) -> None:
        super().__init__()
        self.shape, channels = (num_heads, value_dim, key_dim), num_heads * (2 * key_dim + value_dim)
        self.inward = nn.Linear(width, channels + 2 * num_heads + num_heads * value_dim, bias=False)
        self.conv = nn.Parameter(torch.full((channels, conv_size), 1 / conv_size))
        self.bias = nn.Parameter(torch.zeros(2 * num_heads))
        self.norm = nn.Parameter(torch.ones(value_dim))
        self.outward = nn.Linear(num_heads * value_dim, width, bias=False)

    def initial_state(self, batch: int) -> Carried:
        """Return empty matrices [B, H, V, K] and an empty window [B, W - 1, C]."""
        channels, conv_size = self.conv.shape
        return self.conv.new_zeros(batch, *self.shape), self.conv.new_zeros(batch, conv_size - 1, channels)

    def step(self, x: Tensor, state: Carried, start: Tensor) -> tuple[Tensor, Carried]:
        """Return the output of one step and the next state.

        Args:
            x: [B, D] inputs.
            state: matrices and window before the step.
            start: [B] bool, true where a life starts.

        Returns:
            y: [B, D] outputs.
            state: after the step.
        """
        S, window = state
        y, window, S = layer_step(self.inward(x), self.bias, self.conv, self.norm, window, S, start)
        return self.outward(y), (S, window)

    @property
    def state_bytes(self) -> int:
        """Bytes of state per life."""
        return sum(x.numel() * x.element_size() for x in self.initial_state(1))
