"""Recurrent cells with exponential gates and a normaliser (sLSTM)."""

from torch import Tensor

from lifelong.kernels.backends import pick

from .reference import NEVER, check, slstm as reference

__all__ = ["NEVER", "slstm"]


def slstm(
    given: Tensor, recurrent: Tensor, c: Tensor, n: Tensor, m: Tensor, h: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.slstm`, compiled on the CPU; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(given, recurrent, c, n, m, h, start)
    form = reference
    if pick("auto", given, recurrent, c, n, m, h) == "cpu":
        from .cpu import slstm as form  # numba is imported at the first use
    return form(given, recurrent, c, n, m, h, start)
