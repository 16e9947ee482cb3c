r"""The fast-weight recurrence, one step at a time.

    S <- S_init = 0 where a life starts, else S
    S <- S diag(exp(decay_t))                    decay: none, one per head, or one per key channel
    S <- S - (S r_t) c_t^T + v_t k_t^T           erase, then write; c = k unless `erase_key` is given
    y_t = S q_t                                  read: step t sees its own write

With a rate beta the two are one, the (gated) delta rule S <- S + beta (v - S k) k^T: r = beta k, and beta v for v.
Without rate and r it is gated linear attention.

Shapes: B lives, T steps, H heads, K key dim, V value dim; S is [V, K].
Traffic per step and head: 2 V K numbers of state (one read, one write) and 3 K + 2 V of inputs and outputs.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["check", "fast_weight"]


def fast_weight(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    decay: Tensor | None = None,
    erase: Tensor | None = None,
    erase_key: Tensor | None = None,
    rate: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Decay, erase, write and read a matrix at every step.

    Args:
        q: [B, T, H, K] queries.
        k: [B, T, H, K] keys written at.
        v: [B, T, H, V] values written.
        state: [B, H, V, K] the matrix before the first step.
        start: [B, T] bool, true where a step is the first of a life.
        decay: [B, T, H] or [B, T, H, K], log of the factor kept, <= 0; None keeps everything.
        erase: [B, T, H, K], r: the matrix's output at r is subtracted; None erases nothing.
        erase_key: [B, T, H, K], c: the key it is subtracted at; None means k.
        rate: [B, T, H], beta of the delta rule; instead of `erase`.

    Returns:
        y: [B, T, H, V] outputs.
        state: [B, H, V, K] the matrix after the last step.
    """
    if rate is not None:
        v, erase = rate[..., None] * v, rate[..., None] * k
    ys = []
    for t in range(q.shape[1]):
        state = state.masked_fill(start[:, t, None, None, None], 0.0)
        if decay is not None:
            kept = decay[:, t].exp()  # [B, H] or [B, H, K]
            state = state * (kept[..., None, None] if decay.ndim == 3 else kept[..., None, :])
        write = v[:, t]
        if erase is not None:
            said = (state @ erase[:, t, ..., None])[..., 0]  # [B, H, V]
            if erase_key is None:
                write = write - said
            else:
                state = state - said[..., :, None] * erase_key[:, t, :, None, :]
        state = state + write[..., :, None] * k[:, t, :, None, :]
        ys.append((state @ q[:, t, ..., None])[..., 0])
    return torch.stack(ys, 1), state


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    start: Tensor,
    decay: Tensor | None,
    erase: Tensor | None,
    erase_key: Tensor | None,
    rate: Tensor | None = None,
) -> None:
    """Validate shapes and dtypes.

    Raises:
        ValueError: naming the argument, its shape and the shape wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    B, T, H, K = q.shape
    V = v.shape[-1]
    wanted: dict[str, tuple[Tensor | None, tuple[list[int], ...]]] = {
        "k": (k, ([B, T, H, K],)),
        "v": (v, ([B, T, H, V],)),
        "state": (state, ([B, H, V, K],)),
        "start": (start, ([B, T],)),
        "decay": (decay, ([B, T, H], [B, T, H, K])),
        "erase": (erase, ([B, T, H, K],)),
        "erase_key": (erase_key, ([B, T, H, K],)),
        "rate": (rate, ([B, T, H],)),
    }
    for name, (tensor, shapes) in wanted.items():
        if tensor is not None and list(tensor.shape) not in shapes:
            raise ValueError(f"{name} must be {' or '.join(map(str, shapes))}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    if erase_key is not None and erase is None:
        raise ValueError("erase_key needs erase: nothing is taken away without it")
    if rate is not None and erase is not None:
        raise ValueError("rate and erase exclude each other: rate erases at the key itself")
    examine({"q": q, **{name: tensor for name, (tensor, _) in wanted.items()}})
