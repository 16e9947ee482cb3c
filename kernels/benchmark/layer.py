r"""The gated delta layer of kernels and torch alone: what acting is measured with where `lifelong.memory` cannot be.

q, k, v = SiLU(conv(W x)), q and k of unit length;  log alpha = -softplus(W x + b);  beta = sigmoid(W x)
y = W rmsnorm(fast_weight(q, k, v)) * SiLU(W x)
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.fused import gated_norm, qkv

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
        self.inward = nn.Linear(width, channels, bias=False)
        self.conv = nn.Parameter(torch.full((channels, taps), 1 / taps))
        self.gates = nn.Linear(width, 2 * heads)
        self.norm = nn.Parameter(torch.ones(value_width))
        self.gate = nn.Linear(width, heads * value_width, bias=False)
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
        heads, _, K = self.shape
        q, k, v, window = qkv(self.inward(x)[:, None], self.conv, window, start[:, None], heads, K)
        beta, fade = self.gates(x)[:, None].split(heads, -1)
        y, S = fast_weight(q, k, v, S, start[:, None], decay=-functional.softplus(fade), rate=beta.sigmoid())
        y = gated_norm(y, self.norm, self.gate(x).view(y.shape))
        return self.outward(y.flatten(1)), (S, window)

    @property
    def state_bytes(self) -> int:
        """Bytes of state per life."""
        return sum(x.numel() * x.element_size() for x in self.initial_state(1))
