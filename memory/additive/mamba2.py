r"""Mamba-2: one data-dependent step size per head for both write strength and decay.

    S <- exp(-dt_t A) S + dt_t v_t k_t^T            S_0 = 0
    y_t = S q_t + D v_t

q, k, v = SiLU(conv(W x)) (its C, B and x; keys are not brought to length 1), dt = softplus(W x + c) and A > 0 per head;
the reading, with the value itself added, goes through a SiLU gate, then an RMS norm per head and a linear map.
A step with dt near 0 leaves the memory as it is. dt begins near `step_size` and A so that a write has faded to 1/e
after `horizons` of many thousand environment steps.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and the convolution's
window.
Cost per step: 5 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: arXiv:2405.21060 with as many groups as heads; its A from 1 to 16 and dt from 0.001 to 0.1 are for sentences,
and with so small a dt a write that comes once is lost beside D v: ours begins at 1/2. The convolution has no bias.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.memory.additive.base import Parts
from lifelong.memory.additive.projected import ProjectedAdditive
from lifelong.memory.layer import Output, fade_rates, require_positive

__all__ = ["Mamba2"]


class GateFirst(Output):
    """Gated output with the gate before the norm."""

    def forward(self, reading: Tensor, x: Tensor) -> Tensor:
        """Return [..., D] from the reading [..., H, V] and the layer's input x [..., D]."""
        y: Tensor = self.linear(self.norm(reading * functional.silu(self.gate(x)).view(reading.shape)).flatten(-2))
        return y


class Mamba2(ProjectedAdditive):
    """Mamba-2: a matrix per head, written and decayed by the same step size.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys interfere less.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.
        step_size: initial dt.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `step_size` is not positive, or `horizons` do not rise.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
        step_size: float = 0.5,
    ) -> None:
        require_positive(step_size=step_size)
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, unit=False)
        num_heads, V, _ = self.shape
        self.step_size = nn.Linear(width, num_heads)
        nn.init.constant_(self.step_size.bias, torch.tensor(step_size, device="cpu").expm1().log().item())
        self.log_rate = nn.Parameter((fade_rates(num_heads, horizons) / step_size).log())  # A, in logs
        self.skip = nn.Parameter(torch.ones(num_heads))
        self.output = GateFirst(width, num_heads, V)

    def parts(self, x: Tensor, state: TensorDict, start: Tensor) -> Parts:
        """Return the inputs of the recurrence; see `Additive.parts`."""
        q, k, v, window = self.project(x, state["window"], start)
        dt = functional.softplus(self.step_size(x))  # [B, T, H]

        def read(y: Tensor) -> Tensor:
            out: Tensor = self.output(y + self.skip[:, None] * v, x)
            return out

        return Parts(q, k, v, read, gate=dt, decay=-dt * self.log_rate.exp(), rest={"window": window})
