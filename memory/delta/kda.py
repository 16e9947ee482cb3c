r"""Kimi delta attention (KDA): the delta rule with a data-dependent decay per key channel.

    S <- S diag(alpha_t)                                             S_0 = 0
    S <- S + beta_t (v_t - S k_t) k_t^T
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length, beta = sigmoid(W x) per head, log alpha = -softplus(W' W x + c) per
key channel, W' W of low rank; the reading goes through an RMS norm per head, a SiLU gate and a linear map.
Each head begins with channels of all `horizons`, log-spaced.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and the convolution's
window.
Cost per step: 7 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: Kimi Linear, arXiv:2510.26692; its decay exp(-A softplus) is reparametrised with A = 1, no 1/sqrt(K) on the
query since a norm follows, and the gate after it is SiLU of full rank, as for all matrix memories.
"""

from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.delta.correction import Correction
from lifelong.memory.layer import decay_parameters

__all__ = ["KDA"]


class KDA(DeltaRule):
    """Kimi delta attention: a decay per key channel; see `DeltaRule` for the arguments.

    `horizons` are those of the first and of the last channel of every head.
    """

    def add_gates(self, horizons: tuple[float, float]) -> None:
        """Add the write strength, at first 1/2, and the decays, at first near their horizons."""
        self.gate = nn.Linear(self.width, self.num_heads)
        nn.init.zeros_(self.gate.bias)
        down = nn.Linear(self.width, self.value_dim, bias=False)
        up = nn.Linear(self.value_dim, self.num_heads * self.key_dim)
        self.fade = nn.Sequential(down, up)
        up.weight.data *= 0.1
        up.bias.data[:] = decay_parameters(self.key_dim, horizons).repeat(self.num_heads)

    def fading(self, x: Tensor) -> Tensor:
        """Return the log decays [B, T, H, K].

        Args:
            x: [B, T, D] inputs.
        """
        decay: Tensor = -functional.softplus(self.fade(x)).unflatten(-1, (self.num_heads, -1))
        return decay

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Return the inputs with a decay per key channel."""
        return Correction(q, k, v, decay=self.fading(x), rate=self.gate(x).sigmoid())
