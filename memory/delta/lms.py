r"""Least mean squares (Widrow-Hoff): the delta rule at a constant learned rate.

    S <- S + beta (v_t - S k_t) k_t^T               S_0 = 0
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length; beta = sigmoid(b), learned, one per head, at first 1/2.
`normalised`: keys keep their length and the rate is beta / (eps + |k|^2) instead (NLMS), so that a long key is written
with the value it has, a short one with less. There is no write gate and no decay: the control for every gate.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and the convolution's
window.
Cost per step: 6 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: Widrow and Hoff, Adaptive switching circuits, 1960; the convolution, norm and gate around it are ours, the same
for all matrix memories.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.delta.correction import Correction

__all__ = ["LMS"]

EPS = 1e-6


class LMS(DeltaRule):
    """Least mean squares: the delta rule at a constant learned rate; see `DeltaRule` for the other arguments.

    Args:
        normalised: whether the rate is divided by the key's squared length, instead of the key by its length.
    """

    entry_flops = 6

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        normalised: bool = False,
    ) -> None:
        super().__init__(width, num_heads, key_dim, value_dim, conv_size)
        self.normalised, self.project.unit = normalised, not normalised

    def add_gates(self, horizons: tuple[float, float]) -> None:
        """Add the rate, at first 1/2."""
        self.rate = nn.Parameter(torch.zeros(self.num_heads))

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Return the inputs with a constant rate."""
        beta = self.rate.sigmoid().expand(k.shape[:-1])  # [B, T, H]
        if self.normalised:
            beta = beta / (EPS + k.square().sum(-1))
        return Correction(q, k, v, rate=beta)
