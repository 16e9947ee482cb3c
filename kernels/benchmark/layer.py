r"""The gated delta layer of kernels and torch alone: what acting is measured with where `lifelong.memory` cannot be.

q, k, v = SiLU(conv(W x)), q and k of unit length;  log alpha = -softplus(W x + b);  beta = sigmoid(W x)
y = W rmsnorm(fast_weight(q, k, v)) * SiLU(W x)
"""

import torch
from torch import Tensor, nn

from lifelong.kernels.layer_step import layer_step

__all__ = ["GatedDeltaLayer"]

Carried = tuple[Tensor, Tensor]


class GatedDeltaLayer(nn.Module):
    """A matrix per head, corrected towards the value at each key, with all that surrounds it.

    Args:
        width: D, width of inputs and outputs.
        heads: H.
        key_width: K.
        value_width: V.
        taps: steps the short convolution sees.
    """

    def __init__(self, width: int, heads: int, key_width: int, value_width: int, taps: int = 2) -> None:
        super().__init__()
        self.shape, channels = (heads, value_width, key_width), heads * (2 * key_width + value_width)
        self.inward = nn.Linear(width, channels + 2 * heads + heads * value_width, bias=False)
        self.conv = nn.Parameter(torch.full((channels, taps), 1 / taps))
        self.bias = nn.Parameter(torch.zeros(2 * heads))
        self.norm = nn.Parameter(torch.ones(value_width))
        self.outward = nn.Linear(heads * value_width, width, bias=False)

    def initial_state(self, batch: int) -> Carried:
        """Return empty matrices [B, H, V, K] and an empty window [B, W - 1, C]."""
        channels, taps = self.conv.shape
        return self.conv.new_zeros(batch, *self.shape), self.conv.new_zeros(batch, taps - 1, channels)

    def step(self, x: Tensor, state: Carried, start: Tensor) -> tuple[Tensor, Carried]:
        """Write and read once.

        Args:
            x: [B, D] inputs.
            state: matrices and window before the step.
            start: [B] bool, true where a life starts.

        Returns:
            y: [B, D] what was read.
            state: after the step.
        """
        S, window = state
        y, window, S = layer_step(self.inward(x), self.bias, self.conv, self.norm, window, S, start)
        return self.outward(y), (S, window)

    @property
    def state_bytes(self) -> int:
        """Bytes of state per life."""
        return sum(x.numel() * x.element_size() for x in self.initial_state(1))
