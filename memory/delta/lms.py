r"""Least mean squares (Widrow-Hoff): correct the error at the key by a share that does not depend on the step.

    S <- S + beta (v_t - S k_t) k_t^T               S_0 = 0
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length; beta = sigmoid(b), learned, one per head, at first 1/2.
`normalised`: keys keep their length and the rate is beta / (eps + |k|^2) instead (NLMS), so that a long key is written
with the value it has, a short one with less. Nothing can be skipped and nothing fades but by being overwritten: the
control for every gate.

Shapes: B lives, T steps, D width, H heads, K key width, V value width; state S [B, H, V, K] and the convolution's
window.
Cost per step: 6 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: Widrow and Hoff, Adaptive switching circuits, 1960; the convolution, norm and gate around it are ours, the same
for all matrix memories.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory.layer import Output, Projection, count_heads
from lifelong.memory.memory import Memory

__all__ = ["LMS"]

EPS = 1e-6


class LMS(Memory):
    """A matrix per head, corrected at a constant learned rate.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys leave each other alone.
        value_dim: V; None for width / num_heads.
        conv_size: steps the short convolution sees.
        normalised: whether the rate is divided by the key's squared length, instead of the key by its length.

    Raises:
        ValueError: if `num_heads` does not divide `width`.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        normalised: bool = False,
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        K, V = key_dim or 2 * width // num_heads, value_dim or width // num_heads
        self.shape, self.normalised = (num_heads, V, K), normalised
        self.project = Projection(width, num_heads, K, V, conv_size, unit=not normalised)
        self.rate = nn.Parameter(torch.zeros(num_heads))  # beta = 1/2
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices and an empty window."""
        window = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        return TensorDict({"S": self.zeros(batch, *self.shape), "window": window}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        beta = self.rate.sigmoid().expand(k.shape[:-1])  # [B, T, H]
        if self.normalised:
            beta = beta / (EPS + k.square().sum(-1))
        y, S = fast_weight(q, k, v, state["S"], start, rate=beta)
        return self.output(y, x), TensorDict({"S": S, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, K = self.shape
        return 2 * self.width * (self.project.channels + 2 * num_heads * V) + 6 * num_heads * V * K
