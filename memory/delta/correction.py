"""Inputs of the delta rule: the arguments of `kernels/fast_weight` for T steps.

Shapes: B lives, T steps, H heads, K key dim, V value dim.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

__all__ = ["Correction"]


class Correction(NamedTuple):
    """Inputs of the delta rule for T steps."""

    q: Tensor
    """[B, T, H, K] queries."""
    k: Tensor
    """[B, T, H, K] keys along which the correction is written."""
    v: Tensor
    """[B, T, H, V] values."""
    decay: Tensor | None = None
    """[B, T, H], or [B, T, H, K] per key channel: log of the factor kept, <= 0; None keeps everything."""
    rate: Tensor | None = None
    """[B, T, H] share of the error that is corrected."""
    erase: Tensor | None = None
    """[B, T, H, K] keys at which the error is read, if other than those of the write."""
    rest: Mapping[str, Tensor] = {}
    """The state besides S after the last step, as of `initial_rest`."""
