r"""Kalman delta: correct the error at the key, on each axis as it is still uncertain.

    P <- alpha_t I + (1 - alpha_t) I_p             importance, forgotten towards the prior     I_0 = I_p = 1
    S <- S diag(alpha_t I / P)                     the mean goes with it                       S_0 = 0
    g = b_t (k_t / P) / (1 + b_t sum_j k_tj^2 / P_j)
    S <- S + (v_t - S k_t) g^T                     Kalman gain: exact for a diagonal precision P
    I <- P + b_t k_t^2
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length; log alpha = -softplus(W x + c); b = exp(scale) sigmoid(W x), the
precision of an observation, initially `precision` times the prior's. 0 <= k^T g < 1 whatever b: nothing overshoots, and
b -> infinity writes the pair exactly. Palimpsa drops what is off the diagonal after solving for the mean, and with it
the error; here the gain is solved for first, at the same state as Palimpsa with a scalar beta. An axis used much
becomes stiff and is spared by what follows, so that keys that overlap are told apart by the axes they do not share.
I does not depend on S: J = I - I_p is a decayed sum, P = I_p + J - b k^2, alpha I = P - (1 - alpha) I_p.

Shapes: B lives, T steps, D width, H heads, K key width, V value width; state S [B, H, V, K], J [B, H, K] and the
convolution's window.
Cost per step: 7 H V K + 16 H K operations besides the projections; 4 H (V + 1) K bytes of state.
Source: ours; the gain is that of a Kalman filter with diagonal covariance (Sutton's K1, AAAI 1992, for one output), the
forgetting Palimpsa's, arXiv:2602.09075.
"""

import math

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.linear_scan import linear_scan
from lifelong.memory.layer import Output, Projection, count_heads, write_and_fade
from lifelong.memory.memory import Memory

__all__ = ["KalmanDelta"]

PRIOR = 1.0  # I_p: only b / I_p matters, and b has a scale


class KalmanDelta(Memory):
    """A matrix per head with an importance per key channel, corrected by a diagonal Kalman gain.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys leave each other alone.
        value_dim: V; None for width / num_heads.
        conv_size: steps the short convolution sees.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head, where nothing was
            written since.
        precision: initial b / I_p; the first write at a key then goes precision / (1 + precision) of the way.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `precision` is not positive.
    """

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
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        if not precision > 0:
            raise ValueError(f"precision must be positive: precision={precision}")
        K, V = key_dim or 2 * width // num_heads, value_dim or width // num_heads
        self.shape = (num_heads, V, K)
        self.project = Projection(width, num_heads, K, V, conv_size)
        self.gates = write_and_fade(width, num_heads, horizons)
        self.scale = nn.Parameter(torch.full((num_heads,), math.log(2 * precision)))
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices, the prior's importance and an empty window."""
        num_heads, V, K = self.shape
        window = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        return TensorDict(
            {"S": self.zeros(batch, num_heads, V, K), "J": self.zeros(batch, num_heads, K), "window": window}, [batch]
        )

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        num_heads = self.shape[0]
        q, k, v, window = self.project(x, state["window"], start)
        trust, fade = self.gates(x).split(num_heads, -1)  # [B, T, H]
        b, decay = (self.scale.exp() * trust.sigmoid())[..., None], -functional.softplus(fade)
        gained = b * k * k  # [B, T, H, K]
        J, J_end = linear_scan(gained, decay, state["J"], start)
        P = PRIOR + (J - gained).clamp_min(0.0)
        spread = k / P
        gain = b * spread / (1 + b * (k * spread).sum(-1, keepdim=True))
        fading = torch.log1p(torch.expm1(decay)[..., None] * (PRIOR / P))  # log(alpha I / P), per key channel
        y, S = fast_weight(q, gain, v, state["S"], start, decay=fading, erase=k)
        return self.output(y, x), TensorDict({"S": S, "J": J_end, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, K = self.shape
        projected = self.project.channels + 2 * num_heads + 2 * num_heads * V
        return 2 * self.width * projected + 7 * num_heads * V * K + 16 * num_heads * K
