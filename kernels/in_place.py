"""Update states in place while acting: the previous state is never read again.

A state is many times larger than one step's update, so that copying it would be most of the cost of a step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

__all__ = ["in_place", "next_state", "own_state"]

_ALLOWED = ContextVar("in_place", default=False)


@contextmanager
def in_place() -> Iterator[None]:
    """Update states in place inside the block: the previous state is never read again. No gradients."""
    token = _ALLOWED.set(True)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def next_state(state: Tensor) -> Tensor:
    """Return a contiguous tensor with the present state to write the next one into: itself, or a copy.

    Args:
        state: before the step.
    """
    if _ALLOWED.get() and not torch.is_grad_enabled() and state.is_contiguous():
        return state
    return own_state(state)


def own_state(state: Tensor) -> Tensor:
    """Return a contiguous, detached copy."""
    return state.detach().clone(memory_format=torch.contiguous_format)
