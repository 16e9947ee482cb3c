"""The delta rule with queries, keys and values that depend on the previous reading."""

from torch import Tensor

from lifelong.kernels.backends import pick
from lifelong.kernels.writes import recording

from .reference import check, recurrent_delta as reference

__all__ = ["recurrent_delta"]


def recurrent_delta(z: Tensor, feedback: Tensor, S: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `reference.recurrent_delta`, compiled on the CPU; arguments as there.

    Inside `kernels.writes.recorded` the plain loop runs, whose writes are recorded.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(z, feedback, S, y, start)
    form = reference
    if pick("auto", z, feedback, S, y) == "cpu" and not recording():
        from .cpu import recurrent_delta as form  # numba is imported at the first use
    return form(z, feedback, S, y, start)
