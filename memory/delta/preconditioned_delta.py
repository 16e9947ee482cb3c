r"""Preconditioned gated delta rule: what has been written often moves less, rare channels more, within bounds.

    A <- alpha_t A + beta_t k_t * k_t                                           A_0 = 0
    r = log(A + 1e-6) + 0.2,   g_t = k_t * 1.5^(-r / (1 + |r|))                 a factor between 1/1.5 and 1.5
    S <- alpha_t S
    S <- S + beta_t (v_t - S k_t) g_t^T                                         S_0 = 0
    y_t = S q_t

The memory is read and corrected at k, but the correction is written at g. A does not depend on S: it is a linear scan.
q, k, v = SiLU(conv(W x)), q and k of unit length, beta = sigmoid(W x), log alpha = -softplus(W x + c);
the reading goes through an RMS norm per head, a SiLU gate and a linear map. `kalman_delta` has the exact gain instead.

Shapes: B lives, T steps, D width, H heads, K key width, V value width; state S [B, H, V, K], A [B, H, K] and the
convolution's window.
Cost per step: 7 H V K + 12 H K floating-point operations besides the projections; 4 H (V + 1) K bytes of state.
Source: arXiv:2604.21100; its decay exp(-A softplus) is reparametrised with A = 1, no 1/sqrt(K) on the query since a
norm follows. Horizons are of lives here, so A comes to stand higher than in sentences: the squash then takes it near
1/1.5 in all channels.
"""

import math

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.linear_scan import linear_scan
from lifelong.memory.layer import Output, Projection, count_heads, write_and_fade
from lifelong.memory.memory import Memory

__all__ = ["PreconditionedDelta"]


class PreconditionedDelta(Memory):
    """A matrix per head, corrected along a key that its past use has rescaled.

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
        """Return empty matrices, no past use and an empty window."""
        num_heads, _, K = self.shape
        window = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        state = {"S": self.zeros(batch, *self.shape), "A": self.zeros(batch, num_heads, K), "window": window}
        return TensorDict(state, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        num_heads = self.shape[0]
        q, k, v, window = self.project(x, state["window"], start)
        beta, fade = self.gates(x).split(num_heads, -1)  # [B, T, H]
        beta, decay = beta.sigmoid()[..., None], -functional.softplus(fade)
        use, A = linear_scan(beta * k * k, decay, state["A"], start)
        r = torch.log(use + 1e-6) + 0.2
        g = k * torch.exp(-math.log(1.5) * r / (1 + r.abs()))
        y, S = fast_weight(q, g, beta * v, state["S"], start, decay=decay, erase=beta * k)
        return self.output(y, x), TensorDict({"S": S, "A": A, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, K = self.shape
        projected = self.project.channels + 2 * num_heads + 2 * num_heads * V
        return 2 * self.width * projected + 7 * num_heads * V * K + 12 * num_heads * K
