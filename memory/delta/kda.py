r"""Kimi delta attention: every key channel fades at its own pace, then the error at the key is corrected.

    S <- S diag(alpha_t)                                             S_0 = 0
    S <- S + beta_t (v_t - S k_t) k_t^T
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length, beta = sigmoid(W x) per head, log alpha = -softplus(W' W x + c) per
key channel, W' W of low rank; the reading goes through an RMS norm per head, a SiLU gate and a linear map.
Each head begins with channels of all `horizons`, log-spaced: what is asked with the slow channels comes from long ago.

Shapes: B lives, T steps, D width, H heads, K key width, V value width; state S [B, H, V, K] and the convolution's
window.
Cost per step: 7 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: Kimi Linear, arXiv:2510.26692; its decay exp(-A softplus) is reparametrised with A = 1, no 1/sqrt(K) on the
query since a norm follows, and the gate after it is SiLU of full rank, as for all matrix memories.
"""

from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory.layer import Output, Projection, count_heads, decay_parameters
from lifelong.memory.memory import Memory

__all__ = ["KDA"]


class KDA(Memory):
    """A matrix per head with a decay per key channel, corrected towards the value at each key.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys leave each other alone.
        value_dim: V; None for width / num_heads.
        conv_size: steps the short convolution sees.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last channel of every head.

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
        self.gate = nn.Linear(width, num_heads)
        nn.init.zeros_(self.gate.bias)  # beta = 1/2
        self.fade = nn.Sequential(nn.Linear(width, V, bias=False), nn.Linear(V, num_heads * K))
        last = self.fade.get_submodule("1")
        last.get_parameter("weight").data *= 0.1  # decays begin near their horizons
        last.get_parameter("bias").data[:] = decay_parameters(K, horizons).repeat(num_heads)
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices and an empty window."""
        window = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        return TensorDict({"S": self.zeros(batch, *self.shape), "window": window}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        decay = -functional.softplus(self.fade(x)).unflatten(-1, (self.shape[0], -1))  # [B, T, H, K]
        y, S = fast_weight(q, k, v, state["S"], start, decay=decay, rate=self.gate(x).sigmoid())
        return self.output(y, x), TensorDict({"S": S, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, K = self.shape
        projected = self.project.channels + num_heads + 2 * num_heads * V + V
        return 2 * self.width * projected + 2 * V * num_heads * K + 7 * num_heads * V * K
