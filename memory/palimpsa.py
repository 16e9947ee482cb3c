r"""Palimpsa: a Bayesian memory whose every fast weight has an importance.

    M <- alpha_t M + w_t k_t^T                     evidence                        M_0 = 0
    J <- alpha_t J + b_t (k_t * k_t)^T             importance beyond the prior     J_0 = 0
    y_t = (M / (J + I_p)) q_t + D v_t              posterior mean, and the value itself

q, k, v = SiLU(conv(W x)), q and k of unit length, w = s v with the write gate s = sigmoid(W x) per head.
`beta="vector"`: b = s sigmoid(W' W x) softplus(scale) per value channel, J is [V, K].
`beta="scalar"`: one b per head; J is the same in all rows, j [K], and the memory is gated linear attention
read with q / (j + I_p): the same equations at half the state.
log alpha = -softplus(W x + c). What is written often becomes stiff; forgetting pulls the importance back to I_p = 1.

Shapes: B lives, T steps, D width, H heads, K key width, V value width; state M [B, H, V, K], J [B, H, V, K] or
j [B, H, K, 1], and the convolution's window.
Cost per step: 10 H V K (vector) or 5 H V K + 6 H K (scalar) operations besides the projections.
Source: arXiv:2602.09075 in the form of its repository (numerator gate and importance gate apart, I_p fixed); its decay
exp(-A softplus) is reparametrised with A = 1, and no 1/sqrt(K) since a norm follows.
"""

from typing import Literal

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.posterior import posterior
from lifelong.memory.layer import Output, Projection, count_heads, decay_parameters
from lifelong.memory.memory import Memory

__all__ = ["Palimpsa"]


class Palimpsa(Memory):
    """A factorised Gaussian posterior over a matrix per head.

    Args:
        width: D, width of inputs and outputs.
        heads: H; must divide `width`. None for one in every 32 channels.
        beta: `vector`, an importance gate per value channel, or `scalar`, one per head (cheaper, half the state).
        key_width: K; None for twice width / heads: wide keys leave each other alone.
        value_width: V; None for width / heads.
        taps: steps the short convolution sees.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `heads` does not divide `width`, or `beta` is neither word.
    """

    def __init__(
        self,
        width: int,
        heads: int | None = None,
        beta: Literal["vector", "scalar"] = "vector",
        key_width: int | None = None,
        value_width: int | None = None,
        taps: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        super().__init__(width)
        heads = count_heads(width, heads)
        if beta not in ("vector", "scalar"):
            raise ValueError(f"beta must be 'vector' or 'scalar', got {beta!r}")
        K, V = key_width or 2 * width // heads, value_width or width // heads
        self.shape, self.beta = (heads, V, K), beta
        channels = heads * V if beta == "vector" else heads
        self.project = Projection(width, heads, K, V, taps)
        self.gates = nn.Linear(width, 2 * heads)
        self.gates.weight.data[heads:] *= 0.1  # writes are choosy from the start, decays begin near their horizons
        self.gates.bias.data[:heads] = 0.0  # write gate 1/2
        self.gates.bias.data[heads:] = decay_parameters(heads, horizons)
        self.rank, self.channels = -(-width // 16), channels
        down, up = nn.Linear(width, self.rank, bias=False), nn.Linear(self.rank, channels, bias=False)
        self.importance = nn.Sequential(down, up)
        self.importance_scale = nn.Parameter(torch.ones(channels))
        self.skip = nn.Parameter(torch.ones(heads))
        self.prior: Tensor
        self.register_buffer("prior", torch.ones(heads))
        self.output = Output(width, heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return no evidence, the prior's importance and an empty window."""
        heads, V, K = self.shape
        window = self.zeros(batch, self.project.taps - 1, self.project.channels)
        J = self.zeros(batch, heads, *((V, K) if self.beta == "vector" else (K, 1)))
        return TensorDict({"M": self.zeros(batch, heads, V, K), "J": J, "window": window}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read once; see `Memory.step`."""
        y, state = self.forward(x[:, None], state, start[:, None])
        return y[:, 0], state

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        heads = self.shape[0]
        q, k, v, window = self.project(x, state["window"], start)
        gate, fade = self.gates(x).split(heads, -1)  # [B, T, H]
        gate, decay = gate.sigmoid()[..., None], -functional.softplus(fade)
        b = self.importance(x).sigmoid() * functional.softplus(self.importance_scale)
        b = b.unflatten(-1, (heads, -1)) * gate  # [B, T, H, V or 1]
        M, J = state["M"], state["J"]
        if self.beta == "vector":
            y, M, J = posterior(q, k, gate * v, b, M, J, start, prior=self.prior, decay=decay)
        else:
            one = torch.ones_like(gate)  # a key of width 1: the fast weight is then j itself, read at every step
            j, J = fast_weight(one, one, b * k * k, J, start, decay=decay)
            y, M = fast_weight(q / (j + self.prior[:, None]), k, gate * v, M, start, decay=decay)
        y = y + self.skip[:, None] * v
        return self.output(y, x), TensorDict({"M": M, "J": J, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        heads, V, K = self.shape
        projected = self.project.channels + 2 * heads + 2 * heads * V + self.rank
        recurrence = 10 * heads * V * K if self.beta == "vector" else 5 * heads * V * K + 6 * heads * K
        return 2 * self.width * projected + 2 * self.rank * self.channels + recurrence
