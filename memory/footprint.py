"""Bytes that a memory would take, known before it is made: it is built on the meta device, without values."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch

from lifelong.memory.memory import Memory, nothing_allocated

__all__ = ["check_footprint", "footprint"]

COPIES = 4
"""What training holds for each weight: itself, its gradient and two moments."""


def footprint(make: Callable[..., Memory], width: int, options: Mapping[str, Any]) -> int:
    """Return the bytes of a memory's parameters, buffers and state of one life.

    Torch's random state is left as it is.

    Args:
        make: class or function that makes it.
        width: D, width of inputs and outputs.
        options: its other arguments.
    """
    with torch.random.fork_rng(devices=[]), nothing_allocated(), torch.no_grad():
        memory = make(width, **options)
        held = [*memory.parameters(), *memory.buffers(), *memory.initial_state(1).values(True, True)]
        return sum(each.numel() * each.element_size() for each in held)


def check_footprint(name: str, make: Callable[..., Memory], width: int, options: Mapping[str, Any]) -> None:
    """Validate that a memory of these sizes could be trained in the main memory of this machine.

    Args:
        name: of the memory, for the error.
        make: class or function that makes it.
        width: D, width of inputs and outputs.
        options: its other arguments.

    Raises:
        ValueError: if it does not; says how many bytes it would take, and how many there are.
    """
    there = main_memory()
    try:
        wanted = footprint(make, width, options)
    except RuntimeError as error:  # a number of elements beyond 64 bits
        raise ValueError(f"memory {name!r} cannot have these sizes: width={width}, {dict(options)}: {error}") from error
    if wanted > there / COPIES:
        raise ValueError(
            f"memory {name!r} would take {wanted / 1e9:,.1f} GB with width={width}, {dict(options)}, and training "
            f"holds it {COPIES} times over: this machine has {there / 1e9:,.1f} GB"
        )


def main_memory() -> int:
    """Return the bytes of main memory, or 1 TB where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 10**12
