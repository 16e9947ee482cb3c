r"""A dictionary with integer keys, one step at a time.

    store what_t under under_t         in its slot if it has one, else in the slot written first; nothing if lived_t = 0
    found_t = value of the stored key nearest to asked_t, exact_t = 1 if that is asked_t itself, else 0

A life's start empties it; an empty dictionary says 0. Gradients flow through values, not through keys.

Shapes: B lives, T steps, N slots, K key dim, V value dim.
Traffic per step: 2 N K integers are read, K integers and V numbers written, V read.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["check", "dictionary"]


def dictionary(
    under: Tensor,
    what: Tensor,
    lived: Tensor,
    asked: Tensor,
    key: Tensor,
    value: Tensor,
    known: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Store and look up at every step.

    Args:
        under: [B, T, K] int64 keys stored under.
        what: [B, T, V] values stored.
        lived: [B, T] int64, 1 where something is stored, else 0.
        asked: [B, T, K] int64 keys looked up after that.
        key: [B, N, K] int64 before the first step.
        value: [B, N, V] before the first step; 0 in empty slots.
        known: [B, 1] int64 keys ever given a slot.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        y: [B, T, V + 1] what was found, and whether the key itself was.
        key: [B, N, K] after the last step.
        value: [B, N, V] after the last step.
        known: [B, 1] after the last step.
    """
    slots, ys = torch.arange(key.shape[1], device=key.device), []
    for t in range(what.shape[1]):
        new = start[:, t, None]
        known, value = known.masked_fill(new, 0), value.masked_fill(new[..., None], 0.0)
        key = key.masked_fill(new[..., None], 0)
        nearest, exact = _nearest(under[:, t], key, known)
        slot = torch.where(exact, nearest, known % len(slots))
        written = ((slots == slot) & (lived[:, t, None] > 0))[..., None]  # [B, N, 1]
        key = torch.where(written, under[:, t, None], key)
        value = torch.where(written, what[:, t, None], value)
        known = known + lived[:, t, None] * ~exact
        nearest, exact = _nearest(asked[:, t], key, known)
        found = value.gather(1, nearest[..., None].expand(-1, -1, value.shape[2]))[:, 0]  # an empty slot holds 0
        ys.append(torch.cat([found, exact.to(found.dtype)], 1))
    return torch.stack(ys, 1), key, value, known


def _nearest(wanted: Tensor, key: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slot [B, 1] of the key nearest to `wanted` [B, K], and whether it is that key [B, 1]."""
    distance = (key - wanted[:, None]).square().sum(-1)  # [B, N]
    empty = torch.arange(key.shape[1], device=key.device) >= known
    slot = distance.masked_fill(empty, torch.iinfo(torch.int64).max).argmin(1, keepdim=True)
    return slot, (distance.gather(1, slot) == 0) & (known > 0)


def check(
    under: Tensor,
    what: Tensor,
    lived: Tensor,
    asked: Tensor,
    key: Tensor,
    value: Tensor,
    known: Tensor,
    start: Tensor,
) -> None:
    """Validate shapes and dtypes; the arguments are those of `dictionary`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if what.ndim != 3:
        raise ValueError(f"what must be [B, T, V], got {list(what.shape)}")
    (B, T, V), (N, K) = what.shape, key.shape[-2:]
    wanted = {
        "under": (under, [B, T, K]),
        "lived": (lived, [B, T]),
        "asked": (asked, [B, T, K]),
        "key": (key, [B, N, K]),
        "value": (value, [B, N, V]),
        "known": (known, [B, 1]),
        "start": (start, [B, T]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine({"what": what, "value": value}, states=("value",))
