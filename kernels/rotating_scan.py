r"""A linear recurrence of complex states by real ones, in a frame that turns with them.

    h <- 0 where a life starts, else h
    h <- exp(decay + i turn) * h + u_t              elementwise, h and u complex
    y_t = h                                         step t sees its own write

In the frame exp(i turn t), t counted from the first step of a pass, g_t = exp(-i turn t) h_t only decays: it is
`linear_scan` for its real and its imaginary part. The state that is given and returned is h itself, so that no step
need be counted from pass to pass.

Shapes: B lives, T steps, ... any axes of the state; complex numbers are pairs in a last axis of 2.
"""

import torch
from torch import Tensor

from lifelong.kernels.linear_scan import linear_scan

__all__ = ["rotating_scan"]


def rotating_scan(u: Tensor, decay: Tensor, turn: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Turn and decay a complex state and add to it, at every step.

    Args:
        u: [B, T, ..., 2] inputs to add; axes of size 1 are repeated.
        decay: [...] log of the factor kept, <= 0; the leading axes of the state suffice.
        turn: [...] angle of a step in radians; axes of size 1 are repeated.
        state: [B, ..., 2] before the first step.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        y: [B, T, ..., 2] the state after each step.
        state: [B, ..., 2] after the last step.
    """
    steps = torch.arange(1, start.shape[1] + 1, device=u.device)
    angle = steps.view(-1, *[1] * turn.ndim) * turn.double()  # float32 would lose it in a long pass
    frame = torch.complex(angle.cos().to(u.dtype), angle.sin().to(u.dtype))  # [T, ...]
    driven = torch.view_as_real(torch.view_as_complex(u.contiguous()) * frame.conj())
    g, _ = linear_scan(driven, decay[None, None], state, start)
    y = torch.view_as_real(torch.view_as_complex(g) * frame)
    return y, y[:, -1].clone()
