"""Recurrences of GRU and LSTM behind the map of their input, with lives that start inside a pass."""

from types import ModuleType

from torch import Tensor

from lifelong.kernels.backends import compiled

from . import reference
from .reference import check

__all__ = ["gru", "lstm"]


def gru(given: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor, start: Tensor) -> Tensor:
    """Compute `reference.gru`, compiled for float32 on the CPU; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(3, given, recurrent, {"h": h}, start, bias)
    y: Tensor = _form(given, recurrent, bias, h).gru(given, recurrent, bias, h, start)
    return y


def lstm(given: Tensor, recurrent: Tensor, h: Tensor, c: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `reference.lstm`, compiled for float32 on the CPU; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(4, given, recurrent, {"h": h, "c": c}, start)
    hs, c = _form(given, recurrent, h, c).lstm(given, recurrent, h, c, start)
    return hs, c


def _form(*tensors: Tensor) -> ModuleType:
    if not compiled(*tensors):
        return reference
    from . import cpu  # numba is imported at the first use

    return cpu
