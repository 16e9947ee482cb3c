r"""Recurrent delta rule: queries, keys and values depend on the previous reading.

    q, k, v, b = W x_t + R tanh(y_{t-1})                 y_0 = 0
    S <- S + beta (v - S phi(k)) phi(k)^T                S_0 = 0
    y_t = S phi(q)

phi is the softmax, beta = sigmoid(b), at first near 1/2. R is block-diagonal per head, at first normal with deviation
1/sqrt(V); the reading goes through an RMS norm per head, a SiLU gate and a linear map. The output feeds back through
tanh, so that a pass is a loop over steps (`kernels/recurrent_delta`); in return a state can be tracked that no product
of corrections tells apart.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and y [B, H, V].
Cost per step: 6 H V K + 2 H V (2 K + V + 1) floating-point operations besides the projections; 4 H V (K + 1) bytes of
state.
Source: RecDelta of arXiv:2106.06295, with heads apart in R as in its code; the norm and gate around it are ours, the
same for all matrix memories.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.recurrent_delta import recurrent_delta
from lifelong.memory.layer import Output, count_heads
from lifelong.memory.memory import Memory

__all__ = ["RecurrentDelta"]


class RecurrentDelta(Memory):
    """Recurrent delta rule: a matrix per head with keys that depend on the previous reading.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.

    Raises:
        ValueError: if `num_heads` does not divide `width`.
    """

    sums_writes = True
    outdated = "since 0.2 the input map of recurrent_delta has no bias"

    def __init__(
        self, width: int, num_heads: int | None = None, key_dim: int | None = None, value_dim: int | None = None
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        K, V = key_dim or width // num_heads, value_dim or width // num_heads
        self.shape, self.sizes = (num_heads, V, K), [K, K, V, 1]
        self.input = nn.Linear(width, num_heads * sum(self.sizes), bias=False)
        self.feedback = nn.Parameter(torch.randn(num_heads, sum(self.sizes), V) / V**0.5)
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return zero matrices and zero readings."""
        return TensorDict({"S": self.zeros(batch, *self.shape), "y": self.zeros(batch, *self.shape[:2])}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        z = self.input(x).unflatten(-1, (self.shape[0], -1))
        y, S = recurrent_delta(z, self.feedback, state["S"], state["y"], start)
        return self.output(y, x), TensorDict({"S": S, "y": y[:, -1]}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, K = self.shape
        projected = num_heads * (sum(self.sizes) + 2 * V)
        return 2 * self.width * projected + 6 * num_heads * V * K + 2 * num_heads * V * sum(self.sizes)
