"""Discounts of a segment's steps, and where returns end."""

from typing import Any, NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor

__all__ = ["Discounts", "discounts"]


class Discounts(NamedTuple):
    """Discounts of a segment.

    Args:
        rate: [B, T, 1] of what follows a step.
        done: [B, T, 1] after which steps the trace stops.
        terminated: [B, T, 1] after which nothing follows.
    """

    rate: Any  # TorchRL types it as float; a rate for each step is as good
    done: Tensor
    terminated: Tensor


def discounts(after: TensorDict, gamma: float, life_gamma: float) -> Discounts:
    """Return the discounts of steps.

    Inside an episode the next value counts `gamma`; over an episode's end that the memory survives, `life_gamma`;
    where the memory ends, nothing follows; where an episode was truncated the value of its last observation follows
    and the trace stops.

    Args:
        after: [B, T] `end`, `episode_end` and `truncated`, as under `next` in `Segment`.
        gamma: of the next step.
        life_gamma: of the next episode.
    """
    end, truncated = after["end"], after["truncated"]
    rate = torch.where(after["episode_end"] & ~truncated, life_gamma, gamma)
    return Discounts(rate, end | truncated, end & ~truncated)
