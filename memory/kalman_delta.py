r"""Kalman delta rule: the error at the key is corrected, each key channel by how uncertain it still is.

    P_t = alpha_t I + (1 - alpha_t) I_p                             precision before the step           I_0 = I_p = 1
    S <- S diag(alpha_t I / P_t)                                    mean: the prior's is zero           S_0 = 0
    g_t = (k_t / P_t) / (1 / beta_t + sum_j k_tj^2 / P_tj)          gain, along the uncertain channels
    S <- S + (v_t - S k_t) g_t^T
    I <- P_t + beta_t k_t * k_t
    y_t = S q_t

S is the posterior mean of a linear map, I [K] the precision of its columns (a diagonal covariance, the same for all
rows), beta the precision of the observation v = S k + noise. Each step is the exact Kalman step from precision
diag(P); the correlations that it creates between channels are dropped after the mean has used them, where Palimpsa
drops them before. Hence 0 <= g^T k < 1 whatever beta is: a write never overshoots, and beta -> infinity overwrites the
pair exactly, while what has been written often moves little. Forgetting pulls the posterior back to the prior:
channels become plastic again at the pace at which they fade, and fade the slower the more is known in them.

q, k, v = SiLU(conv(W x)), q and k of unit length, beta = softplus(scale) sigmoid(W x) per head, log alpha =
-softplus(W x + c); the reading goes through an RMS norm per head, a SiLU gate and a linear map. beta starts at 10: the
first write of a life corrects 10/11 of the error, the n-th at one and the same channel 1 / (n + 1/10).

I does not depend on S, so a pass is two kernels: J = I - I_p is a linear scan, and S a fast weight with a decay per key
channel, read at k and written at g.

Shapes: B lives, T steps, D width, H heads, K key width, V value width; state S [B, H, V, K], J [B, H, K] and the
convolution's window.
Cost per step: 7 H V K + 20 H K floating-point operations besides the projections; 4 H (V + 1) K bytes of state.
Source: ours; the model, the prior and the forgetting are Palimpsa's (arXiv:2602.09075) with one beta per head.
Relatives: preconditioned DeltaNet (arXiv:2604.21100), whose gain is a bounded heuristic.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.linear_scan import linear_scan
from lifelong.memory.layer import Output, Projection, count_heads, decay_parameters
from lifelong.memory.memory import Memory

__all__ = ["KalmanDelta"]


class KalmanDelta(Memory):
    """A matrix per head, corrected by a Kalman gain with diagonal covariance.

    Args:
        width: D, width of inputs and outputs.
        heads: H; must divide `width`. None for one in every 32 channels.
        key_width: K; None for twice width / heads: wide keys leave each other alone.
        value_width: V; None for width / heads.
        taps: steps the short convolution sees.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.
        precision: initial beta where its gate is half open, in units of the prior's precision.

    Raises:
        ValueError: if `heads` does not divide `width`, or `precision` is not positive.
    """

    def __init__(
        self,
        width: int,
        heads: int | None = None,
        key_width: int | None = None,
        value_width: int | None = None,
        taps: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
        precision: float = 10.0,
    ) -> None:
        super().__init__(width)
        heads = count_heads(width, heads)
        if not precision > 0:
            raise ValueError(f"precision must be positive: precision={precision}")
        K, V = key_width or 2 * width // heads, value_width or width // heads
        self.shape = (heads, V, K)
        self.project = Projection(width, heads, K, V, taps)
        self.gates = nn.Linear(width, 2 * heads)
        self.gates.weight.data[heads:] *= 0.1  # writes are choosy from the start, decays begin near their horizons
        self.gates.bias.data[:heads] = 0.0  # sigmoid is 1/2
        self.gates.bias.data[heads:] = decay_parameters(heads, horizons)
        most = torch.full((heads,), 2 * precision, dtype=torch.float64)
        self.scale = nn.Parameter((most + torch.log(-torch.expm1(-most))).float())  # softplus backwards
        self.output = Output(width, heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return the prior: a mean of zero, no precision beyond its own, and an empty window."""
        heads, _, K = self.shape
        window = self.zeros(batch, self.project.taps - 1, self.project.channels)
        state = {"S": self.zeros(batch, *self.shape), "J": self.zeros(batch, heads, K), "window": window}
        return TensorDict(state, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read once; see `Memory.step`."""
        y, state = self.forward(x[:, None], state, start[:, None])
        return y[:, 0], state

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        heads = self.shape[0]
        q, k, v, window = self.project(x, state["window"], start)
        gate, fade = self.gates(x).split(heads, -1)  # [B, T, H]
        beta, decay = functional.softplus(self.scale) * gate.sigmoid(), -functional.softplus(fade)
        gain, kept, J = kalman_gain(k, beta, decay, state["J"], start)
        y, S = fast_weight(q, gain, v, state["S"], start, decay=kept, erase=k)
        return self.output(y, x), TensorDict({"S": S, "J": J, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        heads, V, K = self.shape
        projected = self.project.channels + 2 * heads + 2 * heads * V
        return 2 * self.width * projected + 7 * heads * V * K + 20 * heads * K


def kalman_gain(k: Tensor, beta: Tensor, decay: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the precision says about every write: how far each channel moves, and how much of it is kept.

    Args:
        k: [B, T, H, K] keys.
        beta: [B, T, H] precision of the values, in units of the prior's.
        decay: [B, T, H] log alpha.
        state: [B, H, K], J before the first step.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        gain: [B, T, H, K], g.
        kept: [B, T, H, K], log(alpha I / P), the log decay of each column of S.
        state: [B, H, K], J after the last step.
    """
    beta, decay = beta[..., None], decay[..., None]
    J, last = linear_scan(beta * k * k, decay[..., 0], state, start)
    before = torch.cat([state[:, None], J[:, :-1]], 1).masked_fill(start[..., None, None], 0.0)
    P = 1 + decay.exp() * before
    kept = decay + torch.log1p(-torch.expm1(decay) * before / P)  # alpha I = alpha (P + (1 - alpha) J): no digits lost
    uncertain = k / P
    return beta * uncertain / (1 + beta * (k * uncertain).sum(-1, keepdim=True)), kept, last
