r"""Gated delta rule: fade, then correct what the memory says at the key.

    S <- alpha_t S
    S <- S + beta_t (v_t - S k_t) k_t^T            S_0 = 0
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length, beta = sigmoid(W x), log alpha = -softplus(W x + b);
the reading goes through an RMS norm per head, a SiLU gate and a linear map.
The decay is initialised for lives, not sentences: `horizons` of many thousand environment steps. The convolution sees
two steps, so that an answer can be stored under the question one step before it.

Shapes: B lives, T steps, D width, H heads, K key width, V value width; state S [B, H, V, K] and the convolution's
window.
Cost per step: 7 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: Gated DeltaNet, arXiv:2412.06464; its decay exp(-A softplus) is reparametrised with A = 1, no 1/sqrt(K) on the
query since a norm follows.
"""

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.layer_step import layer_step
from lifelong.memory.layer import Output, Projection, count_heads, write_and_fade
from lifelong.memory.memory import Memory

__all__ = ["GatedDelta"]


class GatedDelta(Memory):
    """A matrix per head, corrected towards the value at each key.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys leave each other alone.
        value_dim: V; None for width / num_heads.
        conv_size: steps the short convolution sees.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.

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
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        K, V = key_dim or 2 * width // num_heads, value_dim or width // num_heads
        self.shape = (num_heads, V, K)
        self.project = Projection(width, num_heads, K, V, conv_size)
        self.gates = write_and_fade(width, num_heads, horizons)
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices and an empty window."""
        window = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        return TensorDict({"S": self.zeros(batch, *self.shape), "window": window}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read once; see `Memory.step`."""
        if torch.is_grad_enabled():
            return super().step(x, state, start)
        gates = functional.linear(x, self.gates.weight)  # its bias is added inside
        z = torch.cat([self.project.linear(x), gates, self.output.gate(x)], 1)
        y, window, S = layer_step(
            z, self.gates.bias, self.project.conv, self.output.norm.weight, state["window"], state["S"], start
        )
        return self.output.linear(y), TensorDict({"S": S, "window": window}, [x.shape[0]])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        num_heads = self.shape[0]
        q, k, v, window = self.project(x, state["window"], start)
        beta, fade = self.gates(x).split(num_heads, -1)  # [B, T, H]
        decay = -functional.softplus(fade)
        y, S = fast_weight(q, k, v, state["S"], start, decay=decay, rate=beta.sigmoid())
        return self.output(y, x), TensorDict({"S": S, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, K = self.shape
        projected = self.project.channels + 2 * num_heads + 2 * num_heads * V
        return 2 * self.width * projected + 7 * num_heads * V * K
