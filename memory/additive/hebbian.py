r"""Hebbian memory: outer products at a constant learned rate, with a learned leak.

    S <- lambda_h S + eta_h v_t k_t^T               S_0 = 0
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length; eta = softplus(e) and lambda = exp(-softplus(c)) are one number per
head, the same at every step: there is no write gate. The reading goes through an RMS norm per head, a
SiLU gate and a linear map; n random unit keys of width K disturb each other by about sqrt(n / K).

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and the convolution's
window.
Cost per step: 5 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: the correlation matrix memory, doi:10.1109/TC.1972.5008975, with a leak; convolution, norm and gate are ours.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.memory.additive.base import Parts
from lifelong.memory.additive.projected import ProjectedAdditive
from lifelong.memory.layer import Output, decay_parameters

__all__ = ["Hebbian"]


class Hebbian(ProjectedAdditive):
    """Hebbian memory: a leaky correlation matrix per head.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys interfere less.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has leaked to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `horizons` do not rise.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        super().__init__(width, num_heads, key_dim, value_dim, conv_size)
        num_heads, V, _ = self.shape
        self.rate = nn.Parameter(torch.ones(num_heads).expm1().log())  # eta = 1
        self.leak = nn.Parameter(decay_parameters(num_heads, horizons))
        self.output = Output(width, num_heads, V)

    def parts(self, x: Tensor, state: TensorDict, start: Tensor) -> Parts:
        """Return the inputs of the recurrence; see `Additive.parts`."""
        q, k, v, window = self.project(x, state["window"], start)
        gate, decay = (
            z.expand(*start.shape, -1) for z in (functional.softplus(self.rate), -functional.softplus(self.leak))
        )
        return Parts(q, k, v, lambda y: self.output(y, x), gate=gate, decay=decay, rest={"window": window})
