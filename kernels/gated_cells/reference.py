r"""GRU and LSTM one step at a time, behind the map of their input.

    GRU:    h <- 0                                              where a life starts
            r, z, n = u_t                                       inputs of the gates, with their bias
            r_h, z_h, n_h = U h + b
            r, z = sigmoid(r + r_h), sigmoid(z + z_h)
            h <- (1 - z) tanh(n + r n_h) + z h
    LSTM:   h, c <- 0                                           where a life starts
            i, f, g, o = u_t + U h
            c <- sigmoid(f) c + sigmoid(i) tanh(g)
            h <- sigmoid(o) tanh(c)

Shapes: B lives, T steps, N units, G = 3 (GRU) or 4 (LSTM) gates; states [B, N] each.
Traffic per step and life: U of G N^2 numbers is read, G N of inputs, N of outputs.
Source: GRU, arXiv:1406.1078 in torch's form (reset after the product); LSTM with forget gate,
doi:10.1162/089976600300015015.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["check", "gru", "lstm"]


def gru(given: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor, start: Tensor) -> Tensor:
    """Run a GRU at every step.

    Args:
        given: [B, T, 3 N] u, inputs of r, z and n.
        recurrent: [3 N, N] U, rows in the order of the inputs.
        bias: [3 N] b; that of n lies inside the product with r.
        h: [B, N] units before the first step.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        hs: [B, T, N] units after each step; the last one is the state.
    """
    hs = []
    for t in range(given.shape[1]):
        h = h.masked_fill(start[:, t, None], 0.0)
        r, z, n = given[:, t].chunk(3, -1)
        r_h, z_h, n_h = (h @ recurrent.mT + bias).chunk(3, -1)
        z = (z + z_h).sigmoid()
        h = (1 - z) * (n + (r + r_h).sigmoid() * n_h).tanh() + z * h
        hs.append(h)
    return torch.stack(hs, 1)


def lstm(given: Tensor, recurrent: Tensor, h: Tensor, c: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Run an LSTM at every step.

    Args:
        given: [B, T, 4 N] u, inputs of i, f, g and o, with all of their bias.
        recurrent: [4 N, N] U, rows in the order of the inputs.
        h: [B, N] units before the first step.
        c: [B, N] cells before it.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        hs: [B, T, N] units after each step; the last one is the state.
        c: [B, N] cells after the last step.
    """
    hs = []
    for t in range(given.shape[1]):
        h, c = (z.masked_fill(start[:, t, None], 0.0) for z in (h, c))
        i, f, g, o = (given[:, t] + h @ recurrent.mT).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        hs.append(h)
    return torch.stack(hs, 1), c


def check(
    gates: int,
    given: Tensor,
    recurrent: Tensor,
    states: Mapping[str, Tensor],
    start: Tensor,
    bias: Tensor | None = None,
) -> None:
    """Validate shapes and dtypes.

    Args:
        gates: G.
        given: as of `gru` and `lstm`; so are the others.
        recurrent: rows for all gates.
        states: by name.
        start: where lives start.
        bias: of a GRU.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if given.ndim != 3 or given.shape[-1] % gates:
        raise ValueError(f"given must be [B, T, {gates} N], got {list(given.shape)}")
    (B, T, _), N = given.shape, given.shape[-1] // gates
    wanted = {"recurrent": (recurrent, [gates * N, N])}
    if bias is not None:
        wanted["bias"] = bias, [gates * N]
    wanted |= {name: (state, [B, N]) for name, state in states.items()} | {"start": (start, [B, T])}
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine({"given": given, **{name: tensor for name, (tensor, _) in wanted.items()}}, states=tuple(states))
