"""Validate tensors from files before anything compiled or fused sees them: names, dtype, shape, range."""

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from lifelong.agents.leaves import check_categories, leaves_of

__all__ = ["check_saved", "check_saved_categories", "refuse_not_finite"]

_SHOWN = 3  # names in a message


def check_saved(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    bounds: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Validate tensors that were read from a file: those that are wanted, of their dtypes and shapes, and in range.

    Args:
        found: by name, as they were read.
        wanted: by name, of which only dtype and shape count.
        bounds: least and largest value of integers, by name; others may be any.

    Raises:
        ValueError: naming the first that does not fit, both values and what is allowed.
    """
    if found.keys() != wanted.keys():
        missing, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        raise ValueError(f"missing are {_some(missing)}, unknown are {_some(more)}")
    for name, tensor in found.items():
        like = wanted[name]
        if tensor.dtype != like.dtype or tensor.shape != like.shape:
            raise ValueError(f"{name} must be {like.dtype} {list(like.shape)}, got {tensor.dtype} {list(tensor.shape)}")
        refuse_not_finite(name, tensor)
        if bounds is not None and name in bounds and tensor.numel():
            least, most = bounds[name]
            lowest, highest = (int(end) for end in tensor.aminmax())
            if lowest < least or highest > most:
                wrong = lowest if lowest < least else highest
                raise ValueError(f"{name} must lie in {least} to {most}, got {wrong}")


def check_saved_categories(found: Mapping[str, Tensor], space: spaces.Space[Any], prefix: str = "") -> None:
    """Validate the categories of observations that were read from a file: each chooses a row of a table.

    Args:
        found: [..., *shape] of every entry, by its path with slashes between.
        space: of one observation.
        prefix: of all names.

    Raises:
        ValueError: if they are no integers, or not of the space.
    """
    for path, leaf in leaves_of(space):
        if isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete):
            check_categories(found[prefix + "/".join(path)].numpy(force=True), leaf, path)


def refuse_not_finite(name: str, tensor: Tensor) -> None:
    """Validate that all numbers of a tensor are finite.

    Raises:
        ValueError: naming it and one that is not.
    """
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} must be finite, got {tensor[~torch.isfinite(tensor)][0].item()}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more
