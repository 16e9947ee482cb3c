r"""Preconditioned gated delta rule: writes are rescaled per key channel by its recent use, within bounds.

    A <- a_t A + b_t k_t * k_t                                                  A_0 = 0
    r = log(A + 1e-6) - c,   g_t = k_t * 1.5^(-r / (1 + |r|))                   a factor between 1/1.5 and 1.5
    S <- alpha_t S
    S <- S + beta_t (v_t - S k_t) g_t^T                                         S_0 = 0
    y_t = S q_t

The memory is read and corrected at k, but the correction is written at g. The preconditioner A has gates of its own,
a = exp(-softplus(W x + d)) and b = sigmoid(W x), and a learned centre c per head, at first -0.2: a channel used less
than e^c is written more strongly. A does not depend on S: it is a linear scan. q, k, v = SiLU(conv(W x)), q and k of
unit length, beta = sigmoid(W x), log alpha = -softplus(W x + d); the reading goes through an RMS norm per head, a SiLU
gate and a linear map. `kalman_delta` has the exact gain instead.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K], A [B, H, K] and the
convolution's window.
Cost per step: 7 H V K + 12 H K floating-point operations besides the projections; 4 H (V + 1) K bytes of state.
Source: arXiv:2604.21100; both decays exp(-A softplus) are reparametrised with A = 1, the gates have biases, and there
is no 1/sqrt(K) on the query since a norm follows. What is remembered lasts for lives, use for `use_horizons` steps: a
channel whose use is never forgotten has the factor 1/1.5 in the end, and so have all.
"""

import math

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.linear_scan import linear_scan
from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.delta.correction import Correction
from lifelong.memory.layer import write_and_fade

__all__ = ["PreconditionedDelta"]


class PreconditionedDelta(DeltaRule):
    """Preconditioned gated delta rule; see `DeltaRule` for the other arguments.

    Args:
        use_horizons: initial steps until the use of a key channel has faded to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or horizons are not positive and rising.
    """

    outdated = "since 0.2 the preconditioner of preconditioned_delta has gates and a centre of its own"
    key_flops = 12

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
        use_horizons: tuple[float, float] = (10.0, 1e3),
    ) -> None:
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, horizons)
        self.use_gates = write_and_fade(width, self.num_heads, use_horizons)
        self.centre = nn.Parameter(torch.full((self.num_heads,), -0.2))

    def initial_rest(self, batch: int) -> dict[str, Tensor]:
        """Return the initial use of zero."""
        return {"A": self.zeros(batch, self.num_heads, self.key_dim)}

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Return the inputs: errors at k, written along g."""
        beta, decay = self.strength_and_decay(x)
        write, fade = self.use_gates(x).split(self.num_heads, -1)
        use, A = linear_scan(write.sigmoid()[..., None] * k * k, -functional.softplus(fade), state["A"], start)
        r = torch.log(use + 1e-6) - self.centre[:, None]
        g = k * torch.exp(-math.log(1.5) * r / (1 + r.abs()))
        return Correction(q, g, beta[..., None] * v, decay=decay, erase=beta[..., None] * k, rest={"A": A})
