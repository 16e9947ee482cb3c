r"""Mamba (S6): a selective state space with a data-dependent step size per channel.

    h <- exp(-dt_t A) * h + dt_t u_t k_t^T          elementwise; h_0 = 0
    y_t = h q_t + D u_t

u = SiLU(conv(W x)); k and q (its B and C) are linear in u, dt = softplus(W' W'' u + c) per channel, A > 0 per channel
and state. The reading goes through an RMS norm, a SiLU gate and a linear map.
dt begins near `step_size`; the states of every channel begin with `horizons` from a hundred to many thousand steps.

Shapes: B lives, T steps, D width, E channels, N states; state h [B, E, N] and the convolution's window.
Cost per step: 8 E N floating-point operations and E N exponentials besides the projections; 4 E N bytes of state.
Source: arXiv:2312.00752; its A = 1 ... N and dt from 0.001 to 0.1 are for sentences, and with so small a dt a write
that comes once is lost beside D u. The norm is ours: a sum over a long life has no size that the gate could expect. The
convolution has no bias; q begins equal to k.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifelong.memory.additive.selective import Selective
from lifelong.memory.layer import fade_rates

__all__ = ["Mamba"]


class Mamba(Selective):
    """Mamba: a selective state space.

    Args:
        width: D, width of inputs and outputs.
        channels: E; None for twice the width.
        states: N, states behind each channel.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of a channel's first and last state.
        step_size: initial dt.

    Raises:
        ValueError: if a size or `step_size` is not positive, or `horizons` do not rise.
    """

    def __init__(
        self,
        width: int,
        channels: int | None = None,
        states: int = 16,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e2, 1e5),
        step_size: float = 0.5,
    ) -> None:
        super().__init__(width, channels, states, conv_size)
        if step_size <= 0:
            raise ValueError(f"step_size must be positive: step_size={step_size}")
        nn.init.constant_(self.rate.bias, torch.tensor(step_size, device="cpu").expm1().log().item())
        self.log_fade = nn.Parameter((fade_rates(states, horizons) / step_size).log().repeat(self.shape[0], 1))  # log A

    def transition(self, u: Tensor, rate: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return writes and decays; see `Selective.transition`."""
        dt = functional.softplus(rate)
        return dt * u, -dt[..., None] * self.log_fade.exp()
