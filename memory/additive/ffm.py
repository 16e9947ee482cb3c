r"""FFM: fast and forgetful memory, fading traces that are seen through several oscillations.

    S_ij <- exp(-a_i + i b_j) S_ij + u_i                             complex, S_0 = 0
    z = W_z [Re S, Im S]
    y_t = o * norm(z) + (1 - o) * W_s x

u = W_u x * sigmoid(W_g x), o = sigmoid(W_o x), norm over mean and variance without weights; each W with a bias. a > 0
per trace says how fast it is forgotten; b per context says when the phase of S comes round again: together they tell
how long ago something was. y_t is the input's own share where there is nothing to remember.
a is initialised for lives: the traces' `horizons` are log-spaced; the contexts' first `periods` are as published.

Shapes: B lives, T steps, D width, M traces, C contexts; state S [B, M, C, 2], real and imaginary parts. A pass forms it
at every step.
Cost per step: 10 M C floating-point operations besides the maps (D to 2 M + 2 D, 2 M C to D); 8 M C bytes of state.
Source: arXiv:2310.04128. Its traces forget to 1 % within 1,024 steps; a is -exp(r) here instead of being clamped below
0; the sign of b only conjugates S. Sums over a pass need no double precision, since nothing is divided by a decay.
"""

import math

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.rotating_scan import rotating_scan
from lifelong.memory.layer import fade_rates, linear_flops, require_positive
from lifelong.memory.memory import Memory

__all__ = ["FFM"]


class FFM(Memory):
    """Fast and forgetful memory: traces with learned decays, each seen through oscillating contexts.

    Args:
        width: D, width of inputs and outputs.
        traces: M.
        contexts: C, oscillations of every trace.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last trace.
        periods: initial steps of an oscillation, of the first and of the last context; evenly spaced.

    Raises:
        ValueError: if `traces`, `contexts` or a period is not positive, or `horizons` do not rise.
    """

    def __init__(
        self,
        width: int,
        traces: int = 32,
        contexts: int = 4,
        horizons: tuple[float, float] = (1, 1e5),
        periods: tuple[float, float] = (1, 1024),
    ) -> None:
        super().__init__(width)
        first, last = periods
        require_positive(traces=traces, contexts=contexts, periods=min(first, last))
        self.shape = (traces, contexts)
        self.log_fade = nn.Parameter(fade_rates(traces, horizons).log())  # a, in logs
        self.frequency = nn.Parameter(2 * math.pi / torch.linspace(first, last, contexts))  # b
        self.enter = nn.Linear(width, 2 * traces + 2 * width)
        self.mix = nn.Linear(2 * traces * contexts, width)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty traces."""
        return TensorDict({"S": self.zeros(batch, *self.shape, 2)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        M, D = self.shape[0], self.width
        u, write, skip, open_ = self.enter(x).split([M, M, D, D], -1)
        u = (u * write.sigmoid())[..., None]  # [B, T, M, 1]
        u = torch.stack([u, torch.zeros_like(u)], -1)
        S, last = rotating_scan(u, -self.log_fade.exp(), self.frequency[None], state["S"], start)
        z = functional.layer_norm(self.mix(S.flatten(2)), (D,))
        return skip + open_.sigmoid() * (z - skip), TensorDict({"S": last}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        return linear_flops(self) + 10 * self.shape[0] * self.shape[1]
