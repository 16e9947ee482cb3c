r"""RWKV-7: a decay per key channel, removal at a key of its own, token shift.

    S <- S diag(w_t) - (S z_t) (a_t * z_t)^T + v_t k_t^T             S_0 = 0
    y_t = S r_t + (sum_j u_j r_tj k_tj) v_t                          u, a bonus for the present, learned

The input of each projection is mixed with that of the step before, x + mu (x_{t-1} - x), mu learned per channel
(token shift); x_{t-1} is state. r, k', v = W x; w = exp(-e^-1/2 sigmoid(f(x))) per key channel, above 0.545;
a = sigmoid(f(x)), the rate of removal; z = k' * s brought to unit length, the removal key; k = k' (1 + (a - 1) c),
what is written; gate g = W' sigmoid(W x). Each f is W' tanh(W x) + b of low rank, that of `a` without tanh. The
reading goes through a norm per head over mean and variance before the bonus is added, then the gate and a linear map.
S is read at z before it fades, as in the paper; the kernel fades first, so it is asked at z / w.
w is initialised for lives: `horizons`, log-spaced over the channels of each head.

Shapes: B lives, T steps, D width, H heads, K = V = D / H; state S [B, H, V, K] and the input of the
step before, `shifted` [B, D].
Cost per step: 9 H V K floating-point operations besides the projections; 4 (H V K + D) bytes of state.
Source: arXiv:2503.14456. Left out: v mixed with that of the first layer, which crosses layers and is no memory, and the
channel mixing. Weights begin as torch draws them, the last map not at zero: its input would get no gradient.
"""

import math

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.unit_length import unit_length
from lifelong.memory.layer import count_heads
from lifelong.memory.memory import Memory

__all__ = ["RWKV7"]

FASTEST = math.exp(-0.5)  # most that a step takes from log S
HUGE = 1e15  # readings are scaled down to this before the norm, which does not see it: their squares would overflow
INPUTS = 6  # mixtures of present and past: of r, k, v, w, a and g


class RWKV7(Memory):
    """RWKV-7: a matrix per head with a decay per key channel and a separate removal key.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        rank: width of the low-rank maps; None for width / 4, at least 4.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last channel of every head.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or a horizon is not between 2 steps and the next one.
    """

    sums_writes = True

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        rank: int | None = None,
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        first, last = horizons
        if not 2 <= first <= last:
            raise ValueError(f"horizons must be rising and at least 2: horizons={horizons}")
        K, self.rank = width // num_heads, rank or max(4, width // 4)
        self.shape = (num_heads, K, K)
        self.mix = nn.Parameter(torch.linspace(0, 1, width).repeat(INPUTS, 1))
        self.r, self.k, self.v, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.down = nn.Parameter(torch.empty(3, width, self.rank).uniform_(-1, 1) / math.sqrt(width))
        self.up = nn.Parameter(torch.empty(3, self.rank, width).uniform_(-1, 1) / math.sqrt(self.rank))
        self.up.data[0] *= 0.1  # decays begin near their horizons
        share = torch.logspace(-math.log10(first), -math.log10(last), K) / FASTEST
        self.fade = nn.Parameter(share.logit().repeat(num_heads))
        self.rate = nn.Parameter(torch.zeros(width))  # a = 1/2
        self.removed = nn.Parameter(torch.full((width,), 0.85))
        self.spared = nn.Parameter(torch.ones(width))
        self.bonus = nn.Parameter(torch.full((num_heads, K), -0.04))
        self.norm = nn.GroupNorm(num_heads, width, eps=64e-5)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices and no input before the first."""
        return TensorDict({"S": self.zeros(batch, *self.shape), "shifted": self.zeros(batch, self.width)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        before = torch.cat([state["shifted"][:, None], x[:, :-1]], 1).masked_fill(start[..., None], 0.0)
        mixed = x + self.mix[:, None, None] * (before - x)  # [6, B, T, D]
        r, k, v = self.r(mixed[0]), self.k(mixed[1]), self.v(mixed[2])
        decay = -FASTEST * torch.sigmoid(self.fade + (mixed[3] @ self.down[0]).tanh() @ self.up[0])
        a = torch.sigmoid(self.rate + mixed[4] @ self.down[1] @ self.up[1])
        gate = torch.sigmoid(mixed[5] @ self.down[2]) @ self.up[2]
        r, k, v, decay, a, z = (
            each.unflatten(-1, (self.shape[0], -1)) for each in (r, k, v, decay, a, k * self.removed)
        )  # [B, T, H, K]
        z = unit_length(z)
        k = k * (1 + (a - 1) * self.spared.view(self.shape[:2]))
        y, S = fast_weight(r, k, v, state["S"], start, decay=decay, erase=z * (-decay).exp(), erase_key=a * z)
        y = y / (y.abs().amax(-1, keepdim=True) / HUGE).clamp(min=1.0)
        y = self.norm(y.flatten(0, 1).flatten(1)).view(y.shape)
        y = y + (self.bonus * r * k).sum(-1, keepdim=True) * v
        return self.output(y.flatten(-2) * gate), TensorDict({"S": S, "shifted": x[:, -1]}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, K = self.shape
        return 2 * self.width * (4 * self.width + 6 * self.rank) + 9 * num_heads * V * K
