"""Single steps of GRU and LSTM in plain operations, which torch.vmap can batch.

Shapes: B lives, D width, N hidden units, G = 3 (GRU) or 4 (LSTM): x [B, D], h and c [B, N], w_ih [G N, D],
w_hh [G N, N], biases [G N].
Source: as of `rnn`.
"""

from torch import Tensor
from torch.nn import functional

__all__ = ["gru_cell", "lstm_cell"]


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
