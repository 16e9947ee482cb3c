r"""Base of diagonal linear recurrences: complex modes that all inputs drive and all outputs read.

    h <- exp(-a + i b) * h + c * (W_B x)            elementwise, complex; a > 0, b and the gain c per mode; h_0 = 0
    y_t = read(h)

Shapes: B lives, T steps, D width, N modes; state h [B, N, 2], real and imaginary parts. A pass forms it at every step.
Cost per step: 16 N floating-point operations besides W_B, D x 2 N, and the reading; 8 N bytes of state.
Source: the form that arXiv:2208.04933 and arXiv:2303.06349 share. No scan over convolutions: a life starts anywhere.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.rotating_scan import rotating_scan
from lifelong.memory.layer import linear_flops, require_positive
from lifelong.memory.memory import Memory

__all__ = ["Diagonal", "GatedReading"]


class Diagonal(Memory):
    """Base of diagonal linear recurrences; subclasses define `modes` and `read`.

    Args:
        width: D, width of inputs and outputs.
        states: N, complex modes; None for the width.
    """

    def __init__(self, width: int, states: int | None) -> None:
        super().__init__(width)
        self.states = width if states is None else states
        require_positive(states=self.states)
        self.write = nn.Linear(width, 2 * self.states, bias=False)  # W_B: real and imaginary part of each mode

    def modes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rates of decay a [N], the angles of a step b [N], and the gains c [N, 2], complex, or [N, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must define modes()")

    def read(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the output [B, T, D].

        Args:
            h: [B, T, N, 2] modes.
            x: [B, T, D] inputs.
        """
        raise NotImplementedError(f"{type(self).__name__} must define read(h, x)")

    def initial_state(self, batch: int) -> TensorDict:
        """Return modes at rest."""
        return TensorDict({"h": self.zeros(batch, self.states, 2)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        rate, turn, gain = self.modes()
        u = self.write(x).unflatten(-1, (self.states, 2))
        if gain.shape[-1] == 1:
            u = gain * u
        else:
            u = torch.view_as_real(torch.view_as_complex(gain.contiguous()) * torch.view_as_complex(u))
        h, last = rotating_scan(u, -rate, turn, state["h"], start)
        return self.read(h, x), TensorDict({"h": last}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        return linear_flops(self) + 16 * self.states


class GatedReading(nn.Module):
    """Reading of complex modes: Re(W_C h) + d x, then GELU and a gated linear map.

    Args:
        width: D, width of the output.
        states: N, modes.
    """

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * states, width, bias=False)  # W_C: of each mode Re, then -Im
        self.skip = nn.Parameter(torch.randn(width))  # d
        self.output = nn.Linear(width, 2 * width)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """Return [..., D] from the modes h [..., N, 2] and the layer's input x [..., D]."""
        y = self.linear(h.flatten(-2)) + self.skip * x
        return functional.glu(self.output(functional.gelu(y)))
