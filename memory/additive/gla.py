r"""Gated linear attention: a data-dependent decay for every key channel.

    S <- S diag(a_t) + v_t k_t^T                    S_0 = 0
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length; log a = logsigmoid(W' W'' x + c) / 16 per key channel, W'' of low
rank. The reading goes through an RMS norm per head, a SiLU gate and a linear map.
c is initialised for lives: in every head the channels' `horizons` are spread over many thousand environment steps.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and the convolution's
window.
Cost per step: 5 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: arXiv:2312.06635; its c = 0 keeps 0.96 of a write at every step. Convolution and unit keys are ours, no
1/sqrt(K) since a norm follows.
"""

from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.memory.additive.base import Parts
from lifelong.memory.additive.projected import ProjectedAdditive
from lifelong.memory.layer import Output, decay_parameters, require_positive

__all__ = ["GLA"]

SHARPNESS = 16
"""Divisor of the log of the sigmoid."""


class GLA(ProjectedAdditive):
    """Gated linear attention: a matrix per head with a decay per key channel.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys interfere less.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of a head's first and last key channel.
        rank: of the map to the decays.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `rank` is not positive, or `horizons` do not rise.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
        rank: int = 16,
    ) -> None:
        require_positive(rank=rank)
        super().__init__(width, num_heads, key_dim, value_dim, conv_size)
        num_heads, V, K = self.shape
        up = nn.Linear(rank, num_heads * K)
        up.weight.data *= 0.1  # decays begin near their horizons
        first, last = horizons
        up.bias.data = -decay_parameters(K, (first / SHARPNESS, last / SHARPNESS)).repeat(num_heads)
        self.fade = nn.Sequential(nn.Linear(width, rank, bias=False), up)
        self.output = Output(width, num_heads, V)

    def parts(self, x: Tensor, state: TensorDict, start: Tensor) -> Parts:
        """Return the inputs of the recurrence; see `Additive.parts`."""
        q, k, v, window = self.project(x, state["window"], start)
        decay = (functional.logsigmoid(self.fade(x)) / SHARPNESS).view(k.shape)
        return Parts(q, k, v, lambda y: self.output(y, x), decay=decay, rest={"window": window})
