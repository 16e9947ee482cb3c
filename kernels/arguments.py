"""Validation of device, dtype and finiteness of a kernel's tensors.

`LIFELONG_DEBUG=1` in the environment also checks the values: the error names the first that is not finite, with its
life, step and head. It costs a pass over all arguments and, on a GPU, a synchronisation.
"""

import os
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["examine"]

_AXES = ("life", "step", "head", "channel")


def examine(arguments: Mapping[str, Tensor | None], states: tuple[str, ...] = ("state",)) -> None:
    """Validate that dtype and device of all tensors agree.

    Args:
        arguments: by name, the reference for the others first; None is left out.
        states: names of those that may have a wider dtype than the first, and have no axis of steps.

    Raises:
        ValueError: if a tensor is on another device or of another dtype than the first, naming both; under
            `LIFELONG_DEBUG=1` also if a number is not finite, naming the first.
    """
    given = {name: x for name, x in arguments.items() if x is not None}
    first, like = next(iter(given.items()))
    for name, x in given.items():
        if x.device != like.device:
            raise ValueError(f"{name} must be on the device of {first}, {like.device}, got {x.device}")
        if not x.is_floating_point():
            continue
        if x.dtype != like.dtype and not (name in states and x.dtype.itemsize > like.dtype.itemsize):
            raise ValueError(f"{name} must be {like.dtype} as {first} is, got {x.dtype}")
    if os.environ.get("LIFELONG_DEBUG") == "1":
        for name, x in given.items():
            _look(name, x, ("life", "head", "row", "column") if name in states else _AXES)


def _look(name: str, x: Tensor, axes: tuple[str, ...]) -> None:
    if not x.is_floating_point():
        return
    bad = ~x.isfinite()
    if name == "decay":
        bad &= x != -torch.inf  # a factor of exactly 0
    if bad.any():
        place = bad.nonzero()[0].tolist()
        where = ", ".join(f"{axis} {at}" for axis, at in zip(axes, place, strict=False))
        raise ValueError(f"{name} must be finite, got {x[tuple(place)].item()} at {where}")
