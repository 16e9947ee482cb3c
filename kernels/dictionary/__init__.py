"""A dictionary of integer keys and the values stored under them last."""

from torch import Tensor

from lifelong.kernels.backends import pick

from .reference import check, dictionary as reference

__all__ = ["dictionary"]


def dictionary(
    under: Tensor,
    what: Tensor,
    lived: Tensor,
    asked: Tensor,
    key: Tensor,
    value: Tensor,
    known: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.dictionary`, compiled on the CPU; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(under, what, lived, asked, key, value, known, start)
    form = reference
    if pick("auto", what, value) == "cpu":
        from .cpu import dictionary as form  # numba is imported at the first use
    return form(under, what, lived, asked, key, value, known, start)
