"""Single steps of GRU and LSTM by torch's own cells.

Shapes: B lives, D width, N hidden units, G = 3 (GRU) or 4 (LSTM): x [B, D], h and c [B, N], w_ih [G N, D],
w_hh [G N, N], biases [G N].
Source: as of `rnn`.
"""

from collections.abc import Callable

import torch
from tensordict import TensorDict
from torch import Tensor, nn

__all__ = ["bound_cell"]


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
