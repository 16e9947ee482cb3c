r"""Preconditioned gated delta rule: writes are rescaled per key channel by its past use, within bounds.

    A <- alpha_t A + beta_t k_t * k_t                                           A_0 = 0
    r = log(A + 1e-6) + 0.2,   g_t = k_t * 1.5^(-r / (1 + |r|))                 a factor between 1/1.5 and 1.5
    S <- alpha_t S
    S <- S + beta_t (v_t - S k_t) g_t^T                                         S_0 = 0
    y_t = S q_t

The memory is read and corrected at k, but the correction is written at g. A does not depend on S: it is a linear scan.
q, k, v = SiLU(conv(W x)), q and k of unit length, beta = sigmoid(W x), log alpha = -softplus(W x + c);
the reading goes through an RMS norm per head, a SiLU gate and a linear map. `kalman_delta` has the exact gain instead.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K], A [B, H, K] and the
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

from lifelong.kernels.linear_scan import linear_scan
from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.delta.correction import Correction

__all__ = ["PreconditionedDelta"]


class PreconditionedDelta(DeltaRule):
    """Preconditioned gated delta rule; see `DeltaRule` for the arguments."""

    key_flops = 12

    def initial_rest(self, batch: int) -> dict[str, Tensor]:
        """Return the initial use of zero."""
        return {"A": self.zeros(batch, self.num_heads, self.key_dim)}

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Return the inputs: errors at k, written along g."""
        beta, decay = self.strength_and_decay(x)
        beta = beta[..., None]
        use, A = linear_scan(beta * k * k, decay, state["A"], start)
        r = torch.log(use + 1e-6) + 0.2
        g = k * torch.exp(-math.log(1.5) * r / (1 + r.abs()))
        return Correction(q, g, beta * v, decay=decay, erase=beta * k, rest={"A": A})
