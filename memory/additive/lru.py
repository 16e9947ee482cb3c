r"""LRU, the linear recurrent unit: a diagonal complex recurrence whose modes keep their size.

    h <- exp(-exp(n) + i exp(p)) * h + exp(g) * (W_B x)              elementwise, complex; h_0 = 0
    y_t = Re(W_C h) + d x

n, p, g and d are learned. g begins so that white noise of variance 1 gives every mode a variance of 1 however long it
lasts, exp(2 g) = 1 - |factor|^2. y goes through GELU and a gated linear map.
n is initialised for lives: the modes' `horizons` are log-spaced; their phases are drawn below `max_phase`.

Shapes: B lives, T steps, D width, N modes; state h [B, N, 2], real and imaginary parts. A pass forms it at every step.
Cost per step: 16 N floating-point operations besides W_B and W_C, D x 2 N each, and a D x 2 D map; 8 N bytes of state.
Source: arXiv:2303.06349; its modes are drawn from a ring of radii (.9 to .999 with long tasks), ours fade to 1/e after
10 to 100,000 steps. Its block has a norm in front and a residual sum around it, which are the backbone's here.
"""

import math

import torch
from torch import Tensor, nn

from lifelong.memory.additive.diagonal import Diagonal, GatedReading
from lifelong.memory.layer import fade_rates, require_positive

__all__ = ["LRU"]


class LRU(Diagonal):
    """Linear recurrent unit: complex modes with learned radius, phase and gain.

    Args:
        width: D, width of inputs and outputs.
        states: N, complex modes; None for the width.
        horizons: initial steps until a mode has faded to 1/e, of the first and of the last.
        max_phase: largest initial angle of a step, in radians.

    Raises:
        ValueError: if `states` or `max_phase` is not positive, or `horizons` do not rise.
    """

    def __init__(
        self,
        width: int,
        states: int | None = None,
        horizons: tuple[float, float] = (10, 1e5),
        max_phase: float = 2 * math.pi,
    ) -> None:
        super().__init__(width, states)
        require_positive(max_phase=max_phase)
        rate = fade_rates(self.states, horizons)
        self.log_fade = nn.Parameter(rate.log())  # n
        self.log_phase = nn.Parameter((max_phase * (1 - torch.rand(self.states))).log())  # p
        self.log_gain = nn.Parameter(0.5 * (-(-2 * rate).expm1()).log())  # g
        nn.init.normal_(self.write.weight, std=(2 * width) ** -0.5)
        self.reading = GatedReading(width, self.states)
        nn.init.normal_(self.reading.linear.weight, std=self.states**-0.5)

    def modes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return decays, angles and gains; see `Diagonal.modes`."""
        return self.log_fade.exp(), self.log_phase.exp(), self.log_gain.exp()[:, None]

    def read(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the real part of the modes' mixture, gated; see `Diagonal.read`."""
        y: Tensor = self.reading(h, x)
        return y
