r"""Cells with exponential gates, a normaliser and recurrent gate inputs, one step at a time.

    c, n, h <- 0,  m <- -10^30      where a life starts
    i, f, z, o = u_t + R h                                                  R: one block per head
    m_t = max(log sigmoid(f) + m, i)
    keep, write = exp(log sigmoid(f) + m - m_t), exp(i - m_t)
    c <- keep c + write tanh(z),    n <- keep n + write,    m <- m_t
    h <- sigmoid(o) c / n

Shapes: B lives, T steps, D cells, H heads, N = D / H cells of a head; states [B, D] each.
Traffic per step and life: 4 D numbers of state, 4 D of inputs and D of outputs; R of 4 D N numbers is read.
Source: arXiv:2405.04517.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.arguments import examine

__all__ = ["NEVER", "check", "slstm"]

NEVER = -1e30
"""Initial stabiliser: finite, so that its differences are not NaN."""


def slstm(
    given: Tensor, recurrent: Tensor, c: Tensor, n: Tensor, m: Tensor, h: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the cells at every step.

    Args:
        given: [B, T, 4 D] u, inputs of the gates i and f, of the cell z and of the gate o.
        recurrent: [H, 4 N, N] R, rows in the order of the inputs.
        c: [B, D] cells before the first step.
        n: [B, D] normalisers.
        m: [B, D] stabilisers.
        h: [B, D] readings.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        hs: [B, T, D] readings, the last one is the state h.
        c: [B, D] cells after the last step.
        n: [B, D] normalisers after it.
        m: [B, D] stabilisers after it.
    """
    hs = []
    for t in range(given.shape[1]):
        fresh = start[:, t, None]
        c, n, h = (z.masked_fill(fresh, 0.0) for z in (c, n, h))
        m = m.masked_fill(fresh, NEVER)
        heard = (recurrent @ h.unflatten(-1, (len(recurrent), -1))[..., None])[..., 0]  # [B, H, 4 N]
        heard = heard.unflatten(-1, (4, -1)).transpose(1, 2).flatten(1)  # [B, 4 D]
        i, f, z, o = (given[:, t] + heard).chunk(4, -1)
        kept = functional.logsigmoid(f) + m
        m = torch.maximum(kept, i)
        keep, write = (kept - m).exp(), (i - m).exp()
        c, n = keep * c + write * z.tanh(), keep * n + write
        h = o.sigmoid() * c / n
        hs.append(h)
    return torch.stack(hs, 1), c, n, m


def check(given: Tensor, recurrent: Tensor, c: Tensor, n: Tensor, m: Tensor, h: Tensor, start: Tensor) -> None:
    """Validate shapes and dtypes; the arguments are those of `slstm`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if given.ndim != 3 or given.shape[-1] % 4:
        raise ValueError(f"given must be [B, T, 4 D], got {list(given.shape)}")
    (B, T, _), D, H = given.shape, given.shape[-1] // 4, len(recurrent)
    wanted = {
        "recurrent": (recurrent, [H, 4 * D // H, D // H]),
        "c": (c, [B, D]),
        "n": (n, [B, D]),
        "m": (m, [B, D]),
        "h": (h, [B, D]),
        "start": (start, [B, T]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine({"given": given, **{name: tensor for name, (tensor, _) in wanted.items()}}, states=("c", "n", "m", "h"))
