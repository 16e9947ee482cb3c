r"""BMRU, a bistable memory recurrent unit: a unit holds its state until the input leaves a band.

    c = ReLU(W x + b)
    h <- a where c > hi,   0 where c < lo,   h between              h_0 = 0
    y = V h + d

A unit has two stable states, 0 and a, and what it holds does not fade over any number of steps: a policy that is right
after ten steps of the same input is right after a million, which a memory with one fixed point cannot promise
(arXiv:2605.12206). Gradients, too, pass a unit that holds unchanged.

The thresholds are steps without a slope: their gradient is that of `kernels/hard_step.py`, and second derivatives are
refused. Bands are centred at c = 1, their half widths spread evenly over the units, at first from 0.3 to 1: the last
hold until an input is large.

Shapes: B lives, T steps, D width, N hidden units; state h [B, N]. A pass takes log2 T sweeps over its steps.
Cost per step: 4 N D + 8 N floating-point operations; 4 N bytes of state.
Source: the first-quadrant BMRU of arXiv:2605.15216, by its figure of the cell. A variant: the gradient of the steps,
the initial bands, and lo < hi by parameters are ours. The unit that came first, arXiv:2601.09495, holds -a or a, and
its thresholds depend on the input; its equations were not at hand.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.hard_step import hard_step
from lifelong.memory.layer import linear_flops, require_positive
from lifelong.memory.memory import Memory

__all__ = ["BMRU"]


class BMRU(Memory):
    """Bistable memory recurrent unit: units that hold 0 or a.

    Args:
        width: D, width of inputs and outputs.
        hidden: N, units of state; None for the width.

    Raises:
        ValueError: if `hidden` is not positive.
    """

    def __init__(self, width: int, hidden: int | None = None) -> None:
        super().__init__(width)
        self.hidden = width if hidden is None else hidden
        require_positive(hidden=self.hidden)
        self.candidate = nn.Linear(width, self.hidden)
        self.centre = nn.Parameter(torch.ones(self.hidden))
        self.half_width = nn.Parameter(torch.linspace(0.3, 1.0, self.hidden).expm1().log())  # before the softplus
        self.level = nn.Parameter(torch.ones(self.hidden))  # a
        self.output = nn.Linear(self.hidden, width)
        nn.init.ones_(self.candidate.bias)  # the middle of the bands

    def initial_state(self, batch: int) -> TensorDict:
        """Return zeros."""
        return TensorDict({"h": self.zeros(batch, self.hidden)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Set, clear or hold T times; see `Memory.forward`."""
        c, half = self.candidate(x).relu(), functional.softplus(self.half_width)
        above, below = hard_step(c - self.centre - half), hard_step(self.centre - half - c)
        h = _held(above * self.level, (1 - above) * (1 - below), state["h"], start)
        return self.output(h), TensorDict({"h": h[:, -1]}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        return linear_flops(self) + 8 * self.hidden


def _held(written: Tensor, hold: Tensor, h: Tensor, start: Tensor) -> Tensor:
    """Return h_t = written_t + hold_t h_{t-1}, all t at once, by doubling the steps that one factor spans.

    A unit that is held is not written, so no sum here has two terms: the numbers are those of a loop, to the bit.

    Args:
        written: [B, T, N].
        hold: [B, T, N], 0 or 1.
        h: [B, N] before the first step.
        start: [B, T] bool.
    """
    hold = hold.masked_fill(start[..., None], 0.0)
    written = torch.cat([written[:, :1] + hold[:, :1] * h[:, None], written[:, 1:]], 1)
    span = 1
    while span < written.shape[1]:
        written = torch.cat([written[:, :span], written[:, span:] + hold[:, span:] * written[:, :-span]], 1)
        hold = torch.cat([hold[:, :span], hold[:, span:] * hold[:, :-span]], 1)
        span *= 2
    return written
