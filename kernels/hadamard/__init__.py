"""A matrix whose every entry is multiplied by a factor of its own at every step."""

from torch import Tensor

from lifelong.kernels.backends import pick

from .reference import check, hadamard as reference

__all__ = ["hadamard"]


def hadamard(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, S: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute `reference.hadamard`, compiled on the CPU; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(q, k, v, rows, columns, S, start)
    form = reference
    if pick("auto", q, k, v, rows, columns, S) == "cpu":
        from .cpu import hadamard as form  # numba is imported at the first use
    return form(q, k, v, rows, columns, S, start)
