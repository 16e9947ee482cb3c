r"""Recurrent networks GRU and LSTM, with resets inside a sequence.

GRU:    r, z = sigmoid(W_r x + U_r h), sigmoid(W_z x + U_z h)
        h <- (1 - z) tanh(W_n x + r (U_n h)) + z h                  y = h        h_0 = 0
LSTM:   i, f, o = sigmoid(W x + U h), each with its own W and U;   g = tanh(W_g x + U_g h)
        c <- f c + i g,  h <- o tanh(c)                             y = h        h_0 = c_0 = 0

(biases left out). `hidden` other than the width adds a linear map from h to y. A pass in float32 on the CPU is a
compiled loop (`kernels/gated_cells`), of an LSTM if a life starts inside; else torch's kernel, cut where a life starts.

Shapes: B lives, T steps, D width, N hidden units; state h, and c of the LSTM, [B, N].
Cost per step: 2 G N (D + N) floating-point operations with G = 3 (GRU) or 4 (LSTM), and 2 N D for the linear map.
Source: GRU, arXiv:1406.1078 in torch's form (reset after the product); LSTM with forget gate,
doi:10.1162/089976600300015015.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.backends import compiled, transformed
from lifelong.kernels.gated_cells import gru, lstm
from lifelong.memory.controls.cells import bound_cell
from lifelong.memory.memory import Memory

__all__ = ["GRU", "LSTM"]


class Recurrent(Memory):
    """Base of GRU and LSTM: resets inside a sequence, and the output projection.

    Args:
        width: D, width of inputs and outputs.
        hidden: N, units of state; None for the width.
        network: torch's class of network.
        vectors: names of its state vectors, in torch's order.
    """

    def __init__(
        self, width: int, hidden: int | None, network: type[nn.GRU] | type[nn.LSTM], vectors: tuple[str, ...]
    ) -> None:
        super().__init__(width)
        self.hidden, self.vectors = width if hidden is None else hidden, vectors
        self.network: nn.Module = network(input_size=width, hidden_size=self.hidden, batch_first=True)
        self.output = nn.Identity() if self.hidden == width else nn.Linear(self.hidden, width, bias=False)

    def initial_state(self, batch: int) -> TensorDict:
        """Return zeros."""
        return TensorDict({name: self.zeros(batch, self.hidden) for name in self.vectors}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        if transformed():
            return self._loop(x, state, start)
        inside = [] if x.shape[1] == 1 else start[:, 1:].any(0).nonzero()[:, 0].tolist()  # a single step needs no sync
        if (inside or len(self.vectors) == 1) and compiled(x, *self.network.parameters()):
            return self._loop(x, state, start)
        ys = []
        for first, end in pairwise([0, *(t + 1 for t in inside), x.shape[1]]):  # cut where some life starts
            state = self.restart(state, start[:, first])
            vectors = tuple(state[name][None] for name in self.vectors)  # [1, B, N] each
            y, last = self.network(x[:, first:end], vectors if len(vectors) > 1 else vectors[0])  # pyright: ignore[reportGeneralTypeIssues]
            last = last if len(vectors) > 1 else (last,)
            state = TensorDict({name: h[0] for name, h in zip(self.vectors, last, strict=True)}, [x.shape[0]])
            ys.append(y)
        return self.output(torch.cat(ys, 1)), state

    def _loop(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Compute `forward` in one compiled loop, or step by step in operations that torch.func can transform."""
        w_ih, w_hh, b_ih, b_hh = self.network.parameters()
        if len(self.vectors) == 1:
            hs, cells = gru(functional.linear(x, w_ih, b_ih), w_hh, b_hh, state["h"], start), {}
        else:
            hs, c = lstm(functional.linear(x, w_ih, b_ih + b_hh), w_hh, state["h"], state["c"], start)
            cells = {"c": c}
        return self.output(hs), TensorDict({"h": hs[:, -1], **cells}, [len(x)])

    def bind(self, x: Tensor, y: Tensor, state: TensorDict, start: Tensor) -> Callable[[], TensorDict]:
        """Bind a step to torch's cell; see `Memory.bind`."""
        if type(self).forward is not Recurrent.forward or type(self).step is not Memory.step:
            return super().bind(x, y, state, start)
        vectors = {name: state[name].clone() for name in self.vectors}
        return bound_cell(x, y, vectors, start, list(self.network.parameters()), self.output)

    @property
    def step_flops(self) -> int:
        """Matrix products of one step of one life."""
        weights = [w for name, w in self.named_parameters() if "bias" not in name]
        return 2 * sum(w.numel() for w in weights)


class GRU(Recurrent):
    """GRU, the gated recurrent unit.

    Args:
        width: D, width of inputs and outputs.
        hidden: N, units of state; None for the width.
    """

    def __init__(self, width: int, hidden: int | None = None) -> None:
        super().__init__(width, hidden, nn.GRU, ("h",))


class LSTM(Recurrent):
    """LSTM, with a forget-gate bias of 1 at initialisation.

    Args:
        width: D, width of inputs and outputs.
        hidden: N, units of state; None for the width.
    """

    def __init__(self, width: int, hidden: int | None = None) -> None:
        super().__init__(width, hidden, nn.LSTM, ("h", "c"))
        forget = slice(self.hidden, 2 * self.hidden)  # torch's gates: input, forget, cell, output
        nn.init.ones_(self.network.get_parameter("bias_ih_l0")[forget])
        nn.init.zeros_(self.network.get_parameter("bias_hh_l0")[forget])
