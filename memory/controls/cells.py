"""Single steps of GRU and LSTM: in plain operations, which torch.vmap can batch, and by torch's own cells.

Shapes: B lives, D width, N hidden units, G = 3 (GRU) or 4 (LSTM): x [B, D], h and c [B, N], w_ih [G N, D],
w_hh [G N, N], biases [G N].
Source: as of `rnn`.
"""

from collections.abc import Callable

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["bound_cell", "gru_cell", "lstm_cell"]


def gru_cell(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> tuple[Tensor]:
    """Compute `torch.gru_cell`, which torch.vmap cannot batch."""
    r, z, n = functional.linear(x, w_ih, b_ih).chunk(3, -1)
    hr, hz, hn = functional.linear(h, w_hh, b_hh).chunk(3, -1)
    n, z = (n + (r + hr).sigmoid() * hn).tanh(), (z + hz).sigmoid()
    return ((1 - z) * n + z * h,)


def lstm_cell(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute `torch.lstm_cell`, which torch.vmap cannot batch."""
    i, f, g, o = (functional.linear(x, w_ih, b_ih) + functional.linear(h, w_hh, b_hh)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def bound_cell(
    x: Tensor, y: Tensor, vectors: dict[str, Tensor], start: Tensor, weights: list[nn.Parameter], output: nn.Module
) -> Callable[[], TensorDict]:
    """Return a call that computes torch's cell; see `Memory.bind`.

    Args:
        x: [B, D].
        y: [B, D]; written over.
        vectors: h, or h and c, [B, N] by name; each call replaces them.
        start: [B] bool.
        weights: w_ih, w_hh and the biases.
        output: map from h to y.
    """
    fixed = [weight.detach() for weight in weights]

    def run() -> TensorDict:
        states = [state.masked_fill_(start[:, None], 0.0) for state in vectors.values()]
        if len(states) == 1:
            last: tuple[Tensor, ...] = (torch.gru_cell(x, states[0], *fixed),)
        else:
            last = torch.lstm_cell(x, states, *fixed)
        vectors.update(zip(vectors, last, strict=True))
        y.copy_(output(last[0]))
        return TensorDict(dict(vectors), [len(x)])

    return run
