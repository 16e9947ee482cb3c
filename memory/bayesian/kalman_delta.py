r"""Kalman delta: the delta rule with a diagonal Kalman gain.

    P <- alpha_t I + (1 - alpha_t) I_p             importance, forgotten towards the prior     I_0 = I_p = 1
    S <- S diag(alpha_t I / P)                     the mean goes with it                       S_0 = 0
    g = b_t (k_t / P) / (1 + b_t sum_j k_tj^2 / P_j)
    S <- S + (v_t - S k_t) g^T                     Kalman gain: exact for a diagonal precision P
    I <- P + b_t k_t^2
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length; log alpha = -softplus(W x + c); b = exp(scale) sigmoid(W x), the
precision of an observation, initially `precision` times the prior's. 0 <= k^T g < 1 whatever b: nothing overshoots, and
b -> infinity writes the pair exactly. Palimpsa drops what is off the diagonal after solving for the mean, and with it
the error; here the gain is solved for first, at the same state as Palimpsa with a scalar beta. A frequently used axis
becomes rigid and is changed less by later writes, so that overlapping keys are separated by the axes they do not share.
I does not depend on S: J = I - I_p is a decayed sum, P = I_p + J - b k^2, alpha I = P - (1 - alpha) I_p.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K], J [B, H, K] and the
convolution's window.
Cost per step: 7 H V K + 16 H K operations besides the projections; 4 H (V + 1) K bytes of state.
Source: a Kalman filter of the fast weights with diagonal covariance. The gain is Sutton's K1 (AAAI 1992) for one
output; Kalman delta networks, arXiv:2609.07816, and the Bayesian layers of arXiv:2605.31163 carry a covariance beside
the delta rule too, Kalman linear attention, arXiv:2602.10743, filters in information form, and Gated KalmaNet,
arXiv:2511.21016, solves with the full covariance, as `mesa` does. What differs here: the gain is exact for a precision
that is kept diagonal in the key channels and shared by all rows; forgetting is towards the prior, as Palimpsa's,
arXiv:2602.09075.
"""

import math

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.linear_scan import linear_scan
from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.delta.correction import Correction

__all__ = ["KalmanDelta"]

PRIOR = 1.0  # I_p: only b / I_p matters, and b has a scale


class KalmanDelta(DeltaRule):
    """A matrix per head with an importance per key channel, corrected by a diagonal Kalman gain.

    See `DeltaRule` for the other arguments; `horizons` hold where nothing was written since.

    Args:
        precision: initial b / I_p; the first write at a key then goes precision / (1 + precision) of the way.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `precision` is not positive.
    """

    key_flops = 16

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
        precision: float = 10.0,
    ) -> None:
        if not precision > 0:
            raise ValueError(f"precision must be positive: precision={precision}")
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, horizons)
        self.scale = nn.Parameter(torch.full((self.num_heads,), math.log(2 * precision)))

    def initial_rest(self, batch: int) -> dict[str, Tensor]:
        """Return the initial importance, that of the prior."""
        return {"J": self.zeros(batch, self.num_heads, self.key_dim)}

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Read the error at k and write it along the Kalman gain."""
        trust, decay = self.strength_and_decay(x)  # [B, T, H]
        b = (self.scale.exp() * trust)[..., None]
        gained = b * k * k  # [B, T, H, K]
        J, J_end = linear_scan(gained, decay, state["J"], start)
        P = PRIOR + (J - gained).clamp_min(0.0)
        spread = k / P
        gain = b * spread / (1 + b * (k * spread).sum(-1, keepdim=True))
        fading = torch.log1p(torch.expm1(decay)[..., None] * (PRIOR / P))  # log(alpha I / P), per key channel
        return Correction(q, gain, v, decay=fading, erase=k, rest={"J": J_end})
