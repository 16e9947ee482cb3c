r"""AGaLiTe: gated linear attention whose matrix is approximated by a few vectors under cosines.

    a_i <- (1 - gamma_t) * a_i + cos(w_i n) gamma_t * k_t            i = 1 .. R, n the step of the life, from 1
    b_i <- (1 - beta_t) * b_i + cos(w_i n) beta_t * v_t
    s   <- (1 - gamma_t) * s + gamma_t * k_t                         a_i = b_i = s = 0 at first
    y_t = sum_i b_i (a_i . q_t) / (2 R s . q_t + 10^-5)

Elementwise products. The exact memory is the matrix of all (beta v) (gamma k)^T, faded in rows and columns. Since the
cosines of different steps nearly average out over i, sum_i b_i a_i^T is about R / 2 times that, in R (C + N) numbers.
(Divided by 2 R it is a quarter, as published; the linear map to the width, at the end, can make up for it.)
k = ReLU(W x) ReLU(W_1 x)^T, flat, and q = ReLU(W x) ReLU(W_2 x)^T of C = E N channels; gamma = sigmoid(W x)
sigmoid(W_3 x)^T per key channel, beta = sigmoid(W x) per value channel; v = W x; w_i evenly spaced from -pi to pi.

Shapes: B lives, T steps, D width, H heads, N channels of a head, E features of a channel, C = E N, R vectors; state a
[B, H, C, R], b [B, H, N, R], s [B, H, C], count [B, 1] int64 (steps lived). A pass forms them at every step.
Cost per step: H (5 C R + 5 N R + 9 C) floating-point operations besides the projections; 4 H (C R + N R + C) + 8 bytes
of state.
Source: arXiv:2310.15719; the norm before and the gates after it are the backbone's (`residual=gated`). The published
code counts from 2. gamma is held below 1 - 10^-6.
"""

import math

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.linear_scan import linear_scan
from lifelong.kernels.segments import life_start_steps
from lifelong.memory.layer import count_heads, linear_flops, require_positive
from lifelong.memory.memory import COUNTED, Memory

__all__ = ["AGaLiTe"]


class AGaLiTe(Memory):
    """AGaLiTe: gated linear attention in a few vectors under cosines.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        features: E, features of every key channel.
        vectors: R, pairs of vectors that stand for the matrix.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `features` or `vectors` is not positive.
    """

    def __init__(self, width: int, num_heads: int | None = None, features: int = 4, vectors: int = 8) -> None:
        super().__init__(width)
        require_positive(features=features, vectors=vectors)
        H = count_heads(width, num_heads)
        self.shape = (H, width // H, features, vectors)
        self.state_bounds = {"count": (0, COUNTED)}
        self.project = nn.Linear(width, 5 * width + 3 * H * features)  # k, q, v, beta, gamma; W_1, W_2, W_3
        self.output = nn.Linear(width, width)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty vectors."""
        H, N, E, R = self.shape
        a, b, s = self.zeros(batch, H, E * N, R), self.zeros(batch, H, N, R), self.zeros(batch, H, E * N)
        return TensorDict({"a": a, "b": b, "s": s, "count": self.zeros(batch, 1, dtype=torch.int64)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        H, N, E, R = self.shape
        vectors, maps = self.project(x).split([5 * self.width, 3 * H * E], -1)
        k, q, v, beta, gamma = vectors.unflatten(-1, (5, H, N)).unbind(2)
        k_map, q_map, gamma_map = maps.unflatten(-1, (3, H, E)).unbind(2)
        k, q = _outer(k_map.relu(), k.relu()), _outer(q_map.relu(), q.relu())  # [B, T, H, C]
        gamma = _outer(gamma_map.sigmoid(), gamma.sigmoid()).clamp(max=1 - 1e-6)

        steps = torch.arange(x.shape[1], device=x.device) - life_start_steps(state["count"], start) + 1  # [B, T]
        speed = torch.linspace(-math.pi, math.pi, R, dtype=torch.float64, device=x.device)
        wave = (steps[..., None] * speed).cos().to(x.dtype)[:, :, None, None]  # [B, T, 1, 1, R]
        key_fade, value_fade = torch.log1p(-gamma), -functional.softplus(beta)
        k, v = gamma * k, beta.sigmoid() * v
        a, a_end = linear_scan(k[..., None] * wave, key_fade, state["a"], start)
        b, b_end = linear_scan(v[..., None] * wave, value_fade, state["b"], start)
        s, s_end = linear_scan(k, key_fade, state["s"], start)
        read = (a * q[..., None]).sum(-2, keepdim=True)  # [B, T, H, 1, R]
        y = (b * read).sum(-1) / (2 * R * (s * q).sum(-1, keepdim=True) + 1e-5)
        after = {"a": a_end, "b": b_end, "s": s_end, "count": steps[:, -1:]}
        return self.output(y.flatten(-2)), TensorDict(after, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        H, N, E, R = self.shape
        return linear_flops(self) + H * N * (5 * E * R + 5 * R + 9 * E)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """Return [..., E N], all products of a [..., E] and b [..., N]."""
    return (a[..., :, None] * b[..., None, :]).flatten(-2)
