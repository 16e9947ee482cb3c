r"""sLSTM: an LSTM with exponential gates, a normaliser and recurrent gate inputs.

    m_t = max(f_t + m, i_t)                                                 m_0 = -10^30
    c <- exp(f_t + m - m_t) c + exp(i_t - m_t) tanh(z_t)                    c_0 = 0
    n <- exp(f_t + m - m_t) n + exp(i_t - m_t)                              n_0 = 0
    h <- sigmoid(o_t) c / n                              y_t = h            h_0 = 0

i, logsigmoid^-1(f), z, o = W x + R h, where i and f see x through a short convolution and SiLU, and R is one block per
head. A cell is a weighted mean of its past inputs; the stabiliser m keeps every exponent below 0, and n is at least 1
from a life's first step on. h leaves through an RMS norm per head and a linear map.
The forget gate is initialised for lives: the cells' `horizons` are spread from tens to many thousand steps.
R makes every step wait for the one before it: there is no pass but the loop (`kernels/slstm`).

Shapes: B lives, T steps, D width, H heads; state c, n, m, h [B, D] each and the convolution's window.
Cost per step: 8 D D / H + 20 D floating-point operations besides the projections; 16 D bytes of state.
Source: arXiv:2405.04517; its forget biases from 5 to -7 are for sentences. m begins at -10^30 in every row by itself.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.short_conv import short_conv
from lifelong.kernels.slstm import NEVER, slstm
from lifelong.memory.layer import RMSNorm, count_heads, decay_parameters
from lifelong.memory.memory import Memory

__all__ = ["SLSTM"]


class SLSTM(Memory):
    """sLSTM: a recurrent network with exponential gates and a normaliser.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H, blocks of the recurrent weights; must divide `width`. None for one in every 32 cells.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last cell.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `conv_size` is not positive, or `horizons` do not rise.
    """

    def __init__(
        self, width: int, num_heads: int | None = None, conv_size: int = 2, horizons: tuple[float, float] = (10, 1e5)
    ) -> None:
        num_heads = count_heads(width, num_heads)
        super().__init__(width)
        if conv_size < 1:
            raise ValueError(f"conv_size must be positive: conv_size={conv_size}")
        self.num_heads, self.conv_size = num_heads, conv_size
        self.conv = nn.Parameter(torch.full((width, conv_size), 1 / conv_size))
        self.gates, self.cells = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.gates.bias.data[:width] = 0.0
        self.gates.bias.data[width:] = -decay_parameters(width, horizons)
        self.recurrent = nn.Parameter(torch.zeros(num_heads, 4 * width // num_heads, width // num_heads))
        self.norm = RMSNorm(width // num_heads)
        self.output = nn.Linear(width, width, bias=False)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty cells and an empty window."""
        cells = {name: self.zeros(batch, self.width) for name in ("c", "n", "h")}
        window = self.zeros(batch, self.conv_size - 1, self.width)
        return TensorDict({**cells, "m": self.zeros(batch, self.width) + NEVER, "window": window}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        mixed, window = short_conv(x, self.conv, state["window"], start)
        given = torch.cat([self.gates(functional.silu(mixed)), self.cells(x)], -1)  # [B, T, 4 D]
        hs, c, n, m = slstm(given, self.recurrent, state["c"], state["n"], state["m"], state["h"], start)
        h = hs[:, -1]
        y = self.norm(hs.unflatten(-1, (self.num_heads, -1))).flatten(-2)
        return self.output(y), TensorDict({"c": c, "n": n, "m": m, "h": h, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        return 10 * self.width**2 + 8 * self.width**2 // self.num_heads + 20 * self.width
