r"""Mamba-3: a matrix written by the trapezoid rule, whose key channels turn by data-dependent angles.

    S <- alpha_t (S + (1 - l_t) dt_t v_{t-1} k_{t-1}^T) R_t + l_t dt_t v_t k_t^T                  S_0 = 0
    y_t = S q_t + D v_t

alpha = exp(-dt A); R turns each pair of the first half of the key channels by dt theta, so that S is complex there: a
state can be tracked by turning. dt = softplus(W x + c), A = softplus(W x + c'), l = sigmoid(W x) per head; theta =
pi tanh(W x) per pair, the same for all heads. v = W x, k and q = norm(W x) + bias (its x, B and C); the reading, with
the value itself added, goes through an RMS norm per head, a SiLU gate and a linear map.
With l = 1 a step writes its own pair only, as in Mamba-2; below 1 also the pair before it, which stands in for a
convolution. dt begins near `step_size` and A so that a write has faded to 1/e after `horizons` of many thousand steps.
A step is two of the kernel's: the pair before, then decay and the present one. A pass turns S back into its frame.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K], k [B, H, K] and v [B, H, V]
of the step before.
Cost per step: 10 H V K floating-point operations besides the projections; 4 H (V K + K + V) bytes of state.
Source: arXiv:2603.15569 without MIMO, with as many groups as heads; its dt from .001 to .1 and A near .7 are for
sentences. The norm after the reading is ours.
"""

import math

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory.additive.retnet import turn
from lifelong.memory.layer import Output, RMSNorm, count_heads, fade_rates, linear_flops, require_positive
from lifelong.memory.memory import Memory

__all__ = ["Mamba3"]


class Mamba3(Memory):
    """Mamba-3: a complex matrix per head, written by the trapezoid rule.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys interfere less.
        value_dim: V; None for width / num_heads.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.
        step_size: initial dt.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `key_dim` is odd or below 4, or `step_size` is not positive.
    """

    sums_writes = True

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        horizons: tuple[float, float] = (1e4, 1e5),
        step_size: float = 0.5,
    ) -> None:
        require_positive(step_size=step_size)
        super().__init__(width)
        H = count_heads(width, num_heads)
        K, V = key_dim or 2 * width // H, value_dim or width // H
        if K < 4 or K % 2:
            raise ValueError(f"key_dim must be even and at least 4: key_dim={K}")
        self.shape = (H, V, K)
        self.project = nn.Linear(width, H * (2 * K + V), bias=False)
        self.project.weight.data[: H * K] = self.project.weight.data[H * K : 2 * H * K]  # q begins equal to k
        self.norm_k, self.norm_q = RMSNorm(K), RMSNorm(K)
        self.bias_k, self.bias_q = nn.Parameter(torch.ones(H, K)), nn.Parameter(torch.ones(H, K))
        self.gates = nn.Linear(width, 3 * H)  # dt, A, l
        self.gates.weight.data[H : 2 * H] *= 0.1  # decays begin near their horizons
        rates = torch.cat([torch.full((H,), step_size), fade_rates(H, horizons) / step_size])
        self.gates.bias.data[: 2 * H] = rates.expm1().log()
        self.turn = nn.Linear(width, K // 4, bias=False)  # theta
        self.skip = nn.Parameter(torch.ones(H))
        self.output = Output(width, H, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices and nothing written before."""
        H, V, K = self.shape
        S, k, v = self.zeros(batch, H, V, K), self.zeros(batch, H, K), self.zeros(batch, H, V)
        return TensorDict({"S": S, "k": k, "v": v}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        H, V, K = self.shape
        q, k, v = (z.unflatten(-1, (H, -1)) for z in self.project(x).split([H * K, H * K, H * V], -1))
        q, k = self.norm_q(q) + self.bias_q, self.norm_k(k) + self.bias_k
        dt, rate, share = self.gates(x).split(H, -1)  # [B, T, H]
        dt, rate, share = functional.softplus(dt), functional.softplus(rate), share.sigmoid()
        theta = functional.pad(math.pi * self.turn(x).tanh(), (0, K // 2 - K // 4))
        angle = (dt[..., None] * theta[:, :, None]).double().cumsum(1)  # [B, T, H, K / 2] since the pass began
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        q, framed = turn(q, cos, -sin), turn(k, cos, -sin)
        k_before = torch.cat([state["k"][:, None], framed[:, :-1]], 1)
        v_before = torch.cat([state["v"][:, None], v[:, :-1]], 1)
        share_before = ((1 - share) * dt).masked_fill(start[..., None], 0.0)
        y, S = fast_weight(
            _pairs(q, q),
            _pairs(k_before, framed),
            _pairs(share_before[..., None] * v_before, (share * dt)[..., None] * v),
            state["S"],
            _pairs(start, torch.zeros_like(start)),
            decay=_pairs(torch.zeros_like(dt), -dt * rate),
        )
        after = {"S": turn(S, cos[:, -1, :, None], sin[:, -1, :, None]), "k": k[:, -1], "v": v[:, -1]}
        return self.output(y[:, 1::2] + self.skip[:, None] * v, x), TensorDict(after, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        return linear_flops(self) + 10 * math.prod(self.shape)


def _pairs(first: Tensor, second: Tensor) -> Tensor:
    """Return [B, 2 T, ...] from two tensors [B, T, ...], in turn."""
    return torch.stack([first, second], 2).flatten(1, 2)
