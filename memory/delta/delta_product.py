r"""Gated DeltaProduct: fade once, then correct the memory at several keys before it is read.

    S <- alpha_t S                                                   S_0 = 0
    S <- S + beta_ti (v_ti - S k_ti) k_ti^T          i = 1 .. n
    y_t = S q_t

q, k_i, v_i = SiLU(conv(W x)), q and k_i of unit length, beta_i = 2 sigmoid(W x) in (0, 2), at first 1/2, log alpha =
-softplus(W x + c). beta = 1 overwrites, beta = 2 reflects: the product of n such factors is any rotation in n
dimensions, which is what keeping track of a state needs and one correction cannot do.

A step is n steps of the gated delta rule: a start and the decay belong to the first, the reading to the last.

Shapes: B lives, T steps, D width, H heads, K key width, V value width, n corrections; state S [B, H, V, K] and the
convolution's window.
Cost per step: (6 n + 1) H V K floating-point operations besides the projections, as the kernel reads after each
correction; 4 H V K bytes of state.
Source: arXiv:2502.10297; its decay exp(-A softplus) is reparametrised with A = 1, no 1/sqrt(K) on the query since a
norm follows, and beta begins at 1/2, not 1.
"""

import math

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory.layer import Output, Projection, count_heads, decay_parameters
from lifelong.memory.memory import Memory

__all__ = ["DeltaProduct"]

TINY = 1e-6  # under the root of a squared length, so that zero stays zero and its gradient finite


class DeltaProduct(Memory):
    """A matrix per head, corrected at several keys per step.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        corrections: n, keys and values per step.
        key_dim: K; None for twice width / num_heads: wide keys leave each other alone.
        value_dim: V; None for width / num_heads.
        conv_size: steps the short convolution sees.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `corrections` is not positive.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        corrections: int = 2,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        if corrections < 1:
            raise ValueError(f"corrections must be positive: corrections={corrections}")
        K, V = key_dim or 2 * width // num_heads, value_dim or width // num_heads
        self.shape, self.corrections = (num_heads, V, K), corrections
        further = (corrections - 1) * (K + V)  # keys and values after the first travel with the values
        self.project = Projection(width, num_heads, K, V + further, conv_size)
        rates = corrections * num_heads
        self.gates = nn.Linear(width, rates + num_heads)
        self.gates.weight.data[rates:] *= 0.1  # writes are choosy from the start, decays begin near their horizons
        self.gates.bias.data[:rates] = -math.log(3)  # beta = 2 / 4
        self.gates.bias.data[rates:] = decay_parameters(num_heads, horizons)
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices and an empty window."""
        window = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        return TensorDict({"S": self.zeros(batch, *self.shape), "window": window}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        num_heads, V, K = self.shape
        n = self.corrections
        q, k, v, window = self.project(x, state["window"], start)
        rates, fade = self.gates(x).split([n * num_heads, num_heads], -1)
        v, keys, values = v.split([V, (n - 1) * K, (n - 1) * V], -1)
        keys = keys.unflatten(-1, (n - 1, K))
        keys = keys * (keys.square().sum(-1, keepdim=True) + TINY).rsqrt()
        keys = torch.cat([k[..., None, :], keys], 3)  # [B, T, H, n, K]
        values = torch.cat([v[..., None, :], values.unflatten(-1, (n - 1, V))], 3)
        beta = 2 * rates.sigmoid().unflatten(-1, (n, num_heads))  # [B, T, n, H]
        decay = -functional.softplus(fade)
        y, S = fast_weight(
            q.repeat_interleave(n, 1),
            keys.movedim(3, 2).flatten(1, 2),
            values.movedim(3, 2).flatten(1, 2),
            state["S"],
            _first(start, n),
            decay=_first(decay, n),
            rate=beta.flatten(1, 2),
        )
        return self.output(y[:, n - 1 :: n], x), TensorDict({"S": S, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, K = self.shape
        projected = self.project.channels + (self.corrections + 1) * num_heads + 2 * num_heads * V
        return 2 * self.width * projected + (6 * self.corrections + 1) * num_heads * V * K


def _first(x: Tensor, n: int) -> Tensor:
    """Return [B, T n, ...] from x [B, T, ...]: x at the first of every n, else zero or false."""
    return torch.stack([x, *[torch.zeros_like(x)] * (n - 1)], 2).flatten(1, 2)
