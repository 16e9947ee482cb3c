r"""Gated DeltaProduct: one decay, then several delta-rule corrections per step.

    S <- alpha_t S                                                   S_0 = 0
    S <- S + beta_ti (v_ti - S k_ti) k_ti^T          i = 1 .. n
    y_t = S q_t

q, k_i, v_i = SiLU(conv(W x)), q and k_i of unit length, beta_i = 2 sigmoid(W x) in (0, 2), at first 1/2, log alpha =
-softplus(W x + c). beta = 1 overwrites, beta = 2 reflects: the product of n such factors is any rotation in n
dimensions, which is what keeping track of a state needs and one correction cannot do.

A step is n steps of the gated delta rule: a start and the decay belong to the first, the reading to the last.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, n corrections; state S [B, H, V, K] and the
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
from lifelong.kernels.unit_length import unit_length
from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.layer import decay_parameters

__all__ = ["DeltaProduct"]


class DeltaProduct(DeltaRule):
    """Gated DeltaProduct: several corrections per step; see `DeltaRule` for the other arguments.

    Args:
        corrections: n, keys and values per step.

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
        if corrections < 1:
            raise ValueError(f"corrections must be positive: corrections={corrections}")
        self.corrections, self.entry_flops = corrections, 6 * corrections + 1  # the layers' sizes depend on it
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, horizons)

    @property
    def value_channels(self) -> int:
        """Channels of the values and of all keys but the first."""
        return self.value_dim + (self.corrections - 1) * (self.key_dim + self.value_dim)

    def add_gates(self, horizons: tuple[float, float]) -> None:
        """Add n write strengths, at first 1/2, and a decay per head."""
        rates = self.corrections * self.num_heads
        self.gates = nn.Linear(self.width, rates + self.num_heads)
        self.gates.weight.data[rates:] *= (
            0.1  # gates depend on the input from the start, decays begin near their horizons
        )
        self.gates.bias.data[:rates] = -math.log(3)  # beta = 2 / 4
        self.gates.bias.data[rates:] = decay_parameters(self.num_heads, horizons)

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Run T steps of n writes and one read each; see `Memory.forward`."""
        (H, V, K), n = self.shape, self.corrections
        q, k, v, window = self.project(x, state["window"], start)
        rates, fade = self.gates(x).split([n * H, H], -1)
        v, keys, values = v.split([V, (n - 1) * K, (n - 1) * V], -1)
        keys = unit_length(keys.unflatten(-1, (n - 1, K)))
        keys = torch.cat([k[..., None, :], keys], 3)  # [B, T, H, n, K]
        values = torch.cat([v[..., None, :], values.unflatten(-1, (n - 1, V))], 3)
        beta = 2 * rates.sigmoid().unflatten(-1, (n, H))  # [B, T, n, H]
        y, S = fast_weight(
            q.repeat_interleave(n, 1),
            keys.movedim(3, 2).flatten(1, 2),
            values.movedim(3, 2).flatten(1, 2),
            state["S"],
            _first(start, n),
            decay=_first(-functional.softplus(fade), n),
            rate=beta.flatten(1, 2),
        )
        return self.output(y[:, n - 1 :: n], x), TensorDict({"S": S, "window": window}, [x.shape[0]])


def _first(x: Tensor, n: int) -> Tensor:
    """Return [B, T n, ...] from x [B, T, ...]: x at the first of every n, else zero or false."""
    return torch.stack([x, *[torch.zeros_like(x)] * (n - 1)], 2).flatten(1, 2)
