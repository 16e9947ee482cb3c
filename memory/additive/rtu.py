r"""RTU, recurrent trace units: pairs of real units that turn and fade, read through a nonlinearity.

    r = exp(-exp(n)),  w = exp(p),  g = sqrt(1 - r^2)                        n and p learned per pair
    h1 <- r (cos w h1 - sin w h2) + g W_1 x
    h2 <- r (sin w h1 + cos w h2) + g W_2 x                                  h1_0 = h2_0 = 0
    y_t = W f([h1, h2])                                                      f: ReLU

The recurrence is linear, and f acts on what is read: the linear RTU. It is an LRU in real numbers whose gain follows
from its radius and whose modes are seen one by one, not only in a sum.
n is initialised for lives: the pairs' `horizons` are log-spaced; their phases are drawn below 2 pi.

Shapes: B lives, T steps, D width, N pairs; state h [B, N, 2]. A pass forms it at every step.
Cost per step: 16 N floating-point operations besides W_1, W_2 and W, D x 2 N together each; 8 N bytes of state.
Source: arXiv:2409.01449. Its radii are drawn between 0 and 1. Exact real-time recurrent learning trains it there, which
a diagonal recurrence allows; here, as all memories, it is trained through time within a segment. W is ours: it returns
to the width. g has no 1e-8 added.
"""

import math

import torch
from torch import Tensor, nn

from lifelong.memory.additive.diagonal import Diagonal
from lifelong.memory.layer import fade_rates

__all__ = ["RTU"]


class RTU(Diagonal):
    """Recurrent trace units: turning, fading pairs behind a ReLU.

    Args:
        width: D, width of inputs and outputs.
        states: N, pairs; None for the width.
        horizons: initial steps until a pair has faded to 1/e, of the first and of the last.

    Raises:
        ValueError: if `states` is not positive, or `horizons` do not rise.
    """

    def __init__(self, width: int, states: int | None = None, horizons: tuple[float, float] = (10, 1e5)) -> None:
        super().__init__(width, states)
        self.log_fade = nn.Parameter(fade_rates(self.states, horizons).log())  # n
        self.log_phase = nn.Parameter((2 * math.pi * (1 - torch.rand(self.states))).log())  # p
        self.output = nn.Linear(2 * self.states, width)

    def modes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return decays, angles and gains; see `Diagonal.modes`."""
        rate = self.log_fade.exp()
        gain = (-(-2 * rate).expm1()).sqrt()
        return rate, self.log_phase.exp(), gain[:, None]

    def read(self, h: Tensor, x: Tensor) -> Tensor:
        """Return a linear map of the rectified pairs; see `Diagonal.read`."""
        y: Tensor = self.output(h.flatten(-2).relu())
        return y
