"""Erase keys other than k: split each step into an erase step and a write-and-read step."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["in_turns"]


def in_turns(
    form: Callable[..., tuple[Tensor, Tensor]],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    start: Tensor,
    decay: Tensor | None,
    erase: Tensor,
    erase_key: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute `fast_weight` with erase keys by a back end without them; arguments and results as in `reference.py`.

    Args:
        form: called with twice as many steps, without an erase key.
        q: [B, T, H, K].
        k: [B, T, H, K].
        v: [B, T, H, V].
        state: [B, H, V, K].
        start: [B, T] bool.
        decay: [B, T, H] or [B, T, H, K], or None.
        erase: [B, T, H, K].
        erase_key: [B, T, H, K].
    """
    none = torch.zeros_like
    y, state = form(
        _turns(none(q), q),
        _turns(erase_key, k),
        _turns(none(v), v),
        state,
        _turns(start, none(start)),
        decay=None if decay is None else _turns(decay, none(decay)),
        erase=_turns(erase, none(erase)),
    )
    return y[:, 1::2], state


def _turns(first: Tensor, second: Tensor) -> Tensor:
    """[B, T, ...] twice -> [B, 2 T, ...]."""
    return torch.stack([first, second], 2).flatten(1, 2)
