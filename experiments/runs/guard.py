"""What is not finite: the memory of lives, and where in a segment it was met."""

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents import Segment

__all__ = ["first_not_finite", "memory_fault"]


def memory_fault(state: TensorDict) -> tuple[int, str] | None:
    """Return the first slot whose memory is not finite, and the entry; None if all are.

    Args:
        state: [B].
    """
    leaves = {key: x for key, x in state.items(True, True) if x.is_floating_point() and x.numel()}
    if not leaves or bool(torch.stack([x.sum().double() for x in leaves.values()]).isfinite().all()):
        return None
    for key, x in leaves.items():  # a sum may leave float32, too
        if (slot := _slot(x)) is not None:
            return slot, "/".join(key) if isinstance(key, tuple) else key
    return None


def first_not_finite(segment: Segment) -> int | None:
    """Return the first slot with an action's probability, a value or a reward that is not finite; None without any.

    Args:
        segment: of B lives.
    """
    steps = segment.steps
    recorded = (steps["action_log_prob"], steps["state_value"], steps["next", "state_value"], steps["next", "reward"])
    slots = [slot for x in recorded if (slot := _slot(x)) is not None]
    return min(slots, default=None)


def _slot(x: Tensor) -> int | None:
    """Return the first row of x [B, ...] that is not finite."""
    wrong = ~x.isfinite().flatten(1).all(1) if x.ndim > 1 else ~x.isfinite()
    return int(wrong.nonzero()[0]) if bool(wrong.any()) else None
