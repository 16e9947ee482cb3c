r"""Retention (RetNet): outer products with a fixed decay and rotary keys.

    S <- gamma_h S + v_t (R_t k_t)^T                S_0 = 0
    y_t = S R_t q_t

q, k, v = SiLU(conv(W x)), q and k of unit length. R_t turns the pair of channels (2 j, 2 j + 1) by the angle t theta_j,
t the steps since the start of the life, so that a key is met by how long ago it was written:
(R_t q) . (R_s k) = sum_j of the pairs' products, turned by (t - s) theta_j. theta falls from 1 to 1 / `base`; a pair
tells times apart up to 1 / theta_j steps and adds noise beyond, so that the slowest are as the lives are long.
gamma_h = exp(-1 / horizon_h) is fixed. The reading goes through an RMS norm per head, a SiLU gate and a linear map.

Shapes: B lives, T steps, D width, H heads, K key dim (even), V value dim; state S [B, H, V, K], steps [B, 1] int64
and the convolution's window.
Cost per step: 5 H V K + 6 H K floating-point operations besides the projections; 4 H V K + 8 bytes of state.
Source: arXiv:2307.08621; its gamma 1 - 2^(-5-h) and base 10^4 are for sentences: `horizons` of many thousand steps
instead. Convolution and unit keys are ours, no 1/sqrt(K) since a norm follows.
"""

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.kernels.segments import life_start_steps
from lifelong.memory.additive.base import Parts
from lifelong.memory.additive.projected import ProjectedAdditive
from lifelong.memory.layer import Output, fade_rates
from lifelong.memory.memory import COUNTED

__all__ = ["RetNet"]


class RetNet(ProjectedAdditive):
    """RetNet: a matrix per head with a fixed decay and rotary keys.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K, even; None for twice width / num_heads: wide keys interfere less.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: steps until a write has faded to 1/e, of the first and of the last head; log-spaced between.
        base: steps in which the slowest pair of channels turns by about 1.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `key_dim` is odd, `base` is below 1, or `horizons` do not
            rise.
    """

    key_flops = 6

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
        base: float = 1e5,
    ) -> None:
        super().__init__(width, num_heads, key_dim, value_dim, conv_size)
        num_heads, V, K = self.shape
        if K % 2:
            raise ValueError(f"key_dim must be even, channels turn in pairs: key_dim={K}")
        if base < 1:
            raise ValueError(f"base must be at least 1: base={base}")
        self.decay: Tensor
        self.speed: Tensor
        self.register_buffer("decay", -fade_rates(num_heads, horizons))
        self.register_buffer("speed", base ** -torch.linspace(0, 1, K // 2))
        self.output = Output(width, num_heads, V)
        self.state_bounds = {"steps": (0, COUNTED)}

    def initial_rest(self, batch: int) -> dict[str, Tensor]:
        """Return an empty window and no steps."""
        return super().initial_rest(batch) | {"steps": self.zeros(batch, 1, dtype=torch.int64)}

    def parts(self, x: Tensor, state: TensorDict, start: Tensor) -> Parts:
        """Return the inputs of the recurrence; see `Additive.parts`."""
        q, k, v, window = self.project(x, state["window"], start)
        age = torch.arange(x.shape[1], device=x.device) - life_start_steps(state["steps"], start)  # [B, T]
        angle = age[..., None, None] * self.speed.double()  # [B, T, 1, K / 2]; float32 would lose it in a long life
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        rest = {"window": window, "steps": age[:, -1:] + 1}
        decay = self.decay.expand(*start.shape, -1)
        return Parts(turn(q, cos, sin), turn(k, cos, sin), v, lambda y: self.output(y, x), decay=decay, rest=rest)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x [..., K] with its pairs of channels rotated; cos and sin are [..., K / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
