r"""Comba: the gated delta rule with its own strengths for erasing and writing, and a corrected query.

    S <- alpha_t S - b beta_t (S k_t) k_t^T + beta_t v_t k_t^T       S_0 = 0
    y_t = S (q_t - d k_t)

S is read at k before it fades; of what it says only the share b is erased. b and d are learned per head. In terms of
control, b closes the loop over the state and d over the output: what the present key says is taken from the answer.
q, k, v = SiLU(conv(W x)), q and k of unit length, beta = sigmoid(W x), log alpha = -softplus(W x + c), b in (0, 1), at
first .73, d at first .02; the reading goes through an RMS norm per head, a SiLU gate and a linear map. alpha is held
above e^-10, since the kernel fades first and is asked at k / alpha.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and the convolution's
window.
Cost per step: 7 H V K + 5 H K floating-point operations besides the projections; 4 H V K bytes of state.
Source: arXiv:2506.02475; its decay exp(-A softplus) is reparametrised with A = 1, no 1/sqrt(K) on the query since a
norm follows. d begins at 1 or, for small models, at .02. Key and query are brought to length 1 before d, not after.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.delta.correction import Correction

__all__ = ["Comba"]

FASTEST = 10.0
"""Most that a step takes from log S by fading."""


class Comba(DeltaRule):
    """Comba: closed-loop control of the gated delta rule; see `DeltaRule` for the arguments."""

    key_flops = 5

    def add_gates(self, horizons: tuple[float, float]) -> None:
        """Add write strengths and decays, the share that is erased, and the correction of the query."""
        super().add_gates(horizons)
        self.erased = nn.Parameter(torch.ones(self.num_heads))  # b, before the sigmoid
        self.feedback = nn.Parameter(torch.full((self.num_heads,), 0.02))  # d

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Return the inputs: errors at the weakened key, and corrected queries."""
        beta, decay = self.strength_and_decay(x)
        decay = decay.clamp(min=-FASTEST)
        erased = beta * self.erased.sigmoid() * (-decay).exp()  # [B, T, H]
        q = q - self.feedback[:, None] * k
        return Correction(q, k, beta[..., None] * v, decay=decay, erase=erased[..., None] * k)
