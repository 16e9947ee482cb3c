r"""The elementwise linear recurrence, one step at a time.

    h <- 0 where a life starts, else h
    h <- exp(decay_t) * h + u_t                  elementwise
    y_t = h                                      step t sees its own write

Used for normalisers, momentum and the importance of scalar Palimpsa. The state of a selective state space (Mamba S6,
Longhorn) is one axis N wider than what goes in and comes out; with `write` w and `read` r, both of width N,

    h <- exp(decay_t) * h + u_t w_t^T            the write is an outer product,
    y_t = h r_t                                  and only what is read leaves: neither is ever formed over all steps.

A complex mode with log factor lambda + i omega (S4D) is two real ones in a frame that turns with it: what
g_t = exp(-i omega t) h_t obeys is this recurrence, with the real decay lambda, for its real and its imaginary part,
driven by exp(-i omega t) u_t. A start resets the state and may leave the frame turning; t counts from the first step.

Shapes: B lives, T steps, ... any axes of the state, N states behind each channel.
Traffic per step and number of state: u and decay read, y written; with `write` and `read` only decay is.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["check", "flatten", "linear_scan"]


def linear_scan(
    u: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    write: Tensor | None = None,
    read: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Decay a state and add to it, at every step.

    Args:
        u: [B, T, ...] inputs to add.
        decay: [B, T, ...], or [1, 1, ...] if constant, log of the factor kept, <= 0; the axes after the first two are
            those of the state, or only the leading ones: [B, T, H] decays a state [B, H, K] by one factor per head.
        state: [B, ...] before the first step; [B, ..., N] with `write` and `read`.
        start: [B, T] bool, true where a step is the first of a life.
        write: [B, T, N], w: u is written along it; None adds u as it is.
        read: [B, T, N], r: the state is read along it; goes together with `write`.

    Returns:
        y: [B, T, ...] the state after each step, or its reading.
        state: as `state`, after the last step.

    Source: S6 arXiv 2312.00752, Longhorn arXiv 2407.14207, S4D arXiv 2206.11893.
    """
    B, T = start.shape
    kept = decay.exp().expand(B, T, *decay.shape[2:])[(...,) + (None,) * (state.ndim + 1 - decay.ndim)]
    aligned = (B, *[1] * (state.ndim - 2), -1)  # of a vector [B, N], to the state
    ys = []
    for t in range(T):
        state = state.masked_fill(start[:, t].view(B, *[1] * (state.ndim - 1)), 0.0)
        added = u[:, t] if write is None else u[:, t, ..., None] * write[:, t].view(aligned)
        state = kept[:, t] * state + added
        ys.append(state if read is None else (state * read[:, t].view(aligned)).sum(-1))
    return torch.stack(ys, 1), state


def check(
    u: Tensor, decay: Tensor, state: Tensor, start: Tensor, write: Tensor | None = None, read: Tensor | None = None
) -> None:
    """Validate shapes and dtypes.

    Raises:
        ValueError: naming the argument, its shape and the shape wanted.
    """
    if u.ndim < 2:
        raise ValueError(f"u must be [B, T, ...], got {list(u.shape)}")
    if (write is None) != (read is None):
        raise ValueError("write and read belong together: what is written along N is read along it")
    B, T, *axes = u.shape
    if write is not None:
        if write.ndim != 3:
            raise ValueError(f"write must be [{B}, {T}, N], got {list(write.shape)}")
        axes.append(write.shape[-1])
    wanted: dict[str, tuple[Tensor | None, list[int]]] = {
        "state": (state, [B, *axes]),
        "start": (start, [B, T]),
        "write": (write, [B, T, *axes[-1:]]),
        "read": (read, [B, T, *axes[-1:]]),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    leading = list(decay.shape[2:])
    if list(decay.shape[:2]) not in ([B, T], [1, 1]) or leading != axes[: len(leading)]:
        raise ValueError(
            f"decay must be {[B, T]} or [1, 1], and then leading axes of the state's {axes}, got {list(decay.shape)}"
        )
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine({"u": u, "decay": decay, "state": state, "start": start, "write": write, "read": read})


def flatten(u: Tensor, decay: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return u [B, T, D], decay [B, T, G] and state [B, ...] flat, where each decay is that of M = ... / G numbers."""
    B, T = start.shape
    return u.reshape(B, T, -1), decay.expand(B, T, *decay.shape[2:]).reshape(B, T, -1), state.reshape(B, -1)
