"""A matrix per head that computes its own updates (self-referential weight matrix)."""

from torch import Tensor

from lifelong.kernels.backends import pick

from .reference import check, self_referential as reference

__all__ = ["self_referential"]


def self_referential(x: Tensor, weight: Tensor, state: Tensor, start: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Compute `reference.self_referential`, compiled on the CPU; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(x, weight, state, start)
    form = reference
    if pick("auto", x, weight, state) == "cpu":
        from .cpu import self_referential as form  # numba is imported at the first use
    return form(x, weight, state, start, limit)
