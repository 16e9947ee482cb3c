r"""minGRU and minLSTM: recurrent networks whose gates do not see the state.

minGRU:   z = sigmoid(W_z x)
          h <- (1 - z) h + z c                                     y = h        h_0 = 0
minLSTM:  f, i = sigmoid(W_f x), sigmoid(W_i x)
          h <- f / (f + i) h + i / (f + i) c                       y = h        h_0 = 0

(biases left out). c = W_c x, or with `positive` g(W_c x): g(a) = a + 1/2 above 0, sigmoid(a) below. Because no gate
waits for the state, a pass is one linear scan. `hidden` other than the width adds a linear map from h to y.
The gates are initialised for lives: `horizons` are log-spaced; those of the minLSTM by opposite biases of f and i.

Shapes: B lives, T steps, D width, N hidden units; state h [B, N].
Cost per step: 2 G N D + 8 N floating-point operations with G = 2 (minGRU) or 3 (minLSTM), and 2 N D for the linear map;
4 N bytes of state.
Source: arXiv:2410.01201, its section 3; `positive` is its appendix B, whose scan in logs needs a state above 0. Ours
does not. Its gates have no bias towards keeping: half of a unit is replaced at every step.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.linear_scan import linear_scan
from lifelong.memory.layer import decay_parameters, linear_flops, require_positive
from lifelong.memory.memory import Memory

__all__ = ["MinGRU", "MinLSTM"]


class MinimalRecurrent(Memory):
    """Base of minGRU and minLSTM: a linear scan; subclasses define `shares`.

    Args:
        width: D, width of inputs and outputs.
        hidden: N, units of state; None for the width.
        positive: whether candidates are mapped to above 0.
        gates: G - 1, gates of a unit.
    """

    def __init__(self, width: int, hidden: int | None, positive: bool, gates: int) -> None:
        super().__init__(width)
        self.hidden, self.positive = width if hidden is None else hidden, positive
        require_positive(hidden=self.hidden)
        self.gates = nn.Linear(width, gates * self.hidden)
        self.candidate = nn.Linear(width, self.hidden)
        self.output = nn.Identity() if self.hidden == width else nn.Linear(self.hidden, width, bias=False)

    def shares(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log of the share kept and the share taken from the candidate, each [B, T, N].

        Args:
            gates: [B, T, (G - 1) N] before the sigmoid.
        """
        raise NotImplementedError(f"{type(self).__name__} must define shares(gates)")

    def initial_state(self, batch: int) -> TensorDict:
        """Return zeros."""
        return TensorDict({"h": self.zeros(batch, self.hidden)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        kept, taken = self.shares(self.gates(x))
        c = self.candidate(x)
        if self.positive:
            c = torch.where(c >= 0, c + 0.5, c.sigmoid())
        h, last = linear_scan(taken * c, kept, state["h"], start)
        return self.output(h), TensorDict({"h": last}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        return linear_flops(self) + 8 * self.hidden


class MinGRU(MinimalRecurrent):
    """minGRU: one gate shares a unit between what was and what is new.

    Args:
        width: D, width of inputs and outputs.
        hidden: N, units of state; None for the width.
        positive: whether candidates are mapped to above 0.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last unit.

    Raises:
        ValueError: if `hidden` is not positive, or `horizons` do not rise.
    """

    def __init__(
        self, width: int, hidden: int | None = None, positive: bool = False, horizons: tuple[float, float] = (2, 1e3)
    ) -> None:
        super().__init__(width, hidden, positive, gates=1)
        self.gates.bias.data[:] = decay_parameters(self.hidden, horizons)

    def shares(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Return log(1 - z) and z; see `MinimalRecurrent.shares`."""
        return -functional.softplus(gates), gates.sigmoid()


class MinLSTM(MinimalRecurrent):
    """minLSTM: a forget and an input gate, brought to a sum of one.

    Args:
        width: D, width of inputs and outputs.
        hidden: N, units of state; None for the width.
        positive: whether candidates are mapped to above 0.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last unit.
    """

    def __init__(
        self, width: int, hidden: int | None = None, positive: bool = False, horizons: tuple[float, float] = (2, 1e3)
    ) -> None:
        super().__init__(width, hidden, positive, gates=2)
        fade = decay_parameters(self.hidden, horizons)
        self.gates.bias.data[:] = torch.cat([-fade, fade])  # sigmoid(a) / sigmoid(-a) = exp(a)

    def shares(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Return log(f / (f + i)) and i / (f + i); see `MinimalRecurrent.shares`."""
        forget, write = functional.logsigmoid(gates).chunk(2, -1)
        return -functional.softplus(write - forget), (write - forget).sigmoid()
