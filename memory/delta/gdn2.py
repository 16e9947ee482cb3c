r"""Gated DeltaNet-2: the delta rule with an erase gate per key channel and a write gate per value channel.

    S <- S diag(alpha_t)                                             S_0 = 0
    S <- S - (S (b_t * k_t)) k_t^T + (w_t * v_t) k_t^T
    y_t = S q_t

With b = w = beta, one number per head, it is Kimi delta attention: what is taken away need not be what is written.
q, k, v = SiLU(conv(W x)), q and k of unit length; b = sigmoid(W x) per key channel and w = sigmoid(W x) per value
channel, about 1/2 at first; log alpha = -softplus(W' W x + c) per key channel, W' W of low rank; the reading goes
through an RMS norm per head, a SiLU gate and a linear map.
Each head begins with channels of all `horizons`, log-spaced.
One erasure has no eigenvalue above 1, but unlike with equal gates it is not symmetric: keys that alternate while their
gates change can make S grow by a tenth at every step, and only the decay stands against it.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and the convolution's
window.
Cost per step: 7 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: arXiv:2605.22791; its decay exp(-A softplus) is reparametrised with A = 1, no 1/sqrt(K) on the query since a
norm follows, and the gate after it is SiLU of full rank, as for all matrix memories.
"""

from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.memory.delta.correction import Correction
from lifelong.memory.delta.kda import KDA

__all__ = ["GatedDelta2"]


class GatedDelta2(KDA):
    """Gated DeltaNet-2: erase and write gates per channel; see `DeltaRule` for the arguments.

    `horizons` are those of the first and of the last channel of every head.
    """

    def add_gates(self, horizons: tuple[float, float]) -> None:
        """Add the gates of erasing and writing, and the decays, at first near their horizons."""
        super().add_gates(horizons)
        self.gate = nn.Linear(self.width, self.num_heads * (self.key_dim + self.value_dim), bias=False)  # b, w

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Return the inputs: errors at the gated key, gated values."""
        gates = self.gate(x).sigmoid().unflatten(-1, (self.num_heads, -1))
        b, w = gates.split([self.key_dim, self.value_dim], -1)
        return Correction(q, k, w * v, decay=self.fading(x), erase=b * k)
