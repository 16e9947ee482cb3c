r"""S4D: a diagonal linear state space, independent of the input.

    h <- exp(dt A) h + (exp(dt A) - 1) / A u_t              complex, h_0 = 0
    y_t = 2 Re(C . h) + D u_t

u = x; A = -exp(r) + i w and C are learned per channel and mode, dt per channel. y goes through GELU and a gated linear
map.
It is computed by real recurrences: in the rotating frame, g_t = exp(-i dt w t) h_t only decays. A pass starts
its frame anew, so that the state is h itself and no step need be counted.
dt is initialised for lives: A begins at -1/2 + i pi m for mode m, and a channel's slowest wave fades to 1/e after
2 / dt = `horizons`, log-spaced over the channels.

Shapes: B lives, T steps, D width, M modes; state h [B, D, M, 2], real and imaginary parts. A pass forms it at every
step: B T D M 2 numbers.
Cost per step: 14 D M floating-point operations and a D x 2 D product; 8 D M bytes of state.
Source: S4D-Lin, arXiv:2206.11893; its dt from 0.001 to 0.1 is for sequences of a thousand steps. No convolution over
time: a life may start anywhere.
"""

import math

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.linear_scan import linear_scan
from lifelong.memory.layer import fade_rates
from lifelong.memory.memory import Memory

__all__ = ["S4D"]


class S4D(Memory):
    """S4D: a diagonal linear state space, independent of the input.

    Args:
        width: D, width of inputs and outputs.
        modes: M, complex states behind each channel.
        horizons: initial steps until a wave has faded to 1/e, of the first and of the last channel.

    Raises:
        ValueError: if `modes` is not positive, or `horizons` do not rise.
    """

    def __init__(self, width: int, modes: int = 16, horizons: tuple[float, float] = (10, 1e5)) -> None:
        super().__init__(width)
        if modes < 1:
            raise ValueError(f"modes must be positive: modes={modes}")
        self.modes = modes
        self.log_step = nn.Parameter((2 * fade_rates(width, horizons)).log())  # dt
        self.log_fade = nn.Parameter(torch.full((width, modes), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(modes, dtype=torch.get_default_dtype()).repeat(width, 1))
        self.read = nn.Parameter(torch.randn(width, modes, 2) / 2**0.5)  # C
        self.skip = nn.Parameter(torch.randn(width))
        self.output = nn.Linear(width, 2 * width)

    def initial_state(self, batch: int) -> TensorDict:
        """Return zero states."""
        return TensorDict({"h": self.zeros(batch, self.width, self.modes, 2)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        dt = self.log_step.exp()[:, None]
        A = torch.complex(-self.log_fade.exp(), self.frequency)  # [D, M]
        write = torch.expm1(dt * A) / A
        steps = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None, None]
        angle = steps * (dt * self.frequency).double()  # [T, D, M]; float32 would lose it in a long pass
        frame = torch.complex(angle.cos().to(x.dtype), angle.sin().to(x.dtype))

        driven = x[..., None, None] * torch.view_as_real(write / frame)  # [B, T, D, M, 2]
        g, last = linear_scan(driven, (dt * A.real)[None, None], state["h"], start)
        read = 2 * torch.view_as_real((torch.view_as_complex(self.read) * frame).conj().resolve_conj())
        y = (g * read).sum((-2, -1)) + self.skip * x
        h = torch.view_as_real(torch.view_as_complex(last.contiguous()) * frame[-1])
        return functional.glu(self.output(functional.gelu(y))), TensorDict({"h": h}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        return 4 * self.width**2 + 14 * self.width * self.modes
