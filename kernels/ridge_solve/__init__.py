"""Ridge regression over all earlier steps, solved for the query of every step."""

from torch import Tensor

from lifelong.kernels.backends import pick

from .chunk import ridge_solve as chunk
from .reference import check

__all__ = ["ridge_solve"]


def ridge_solve(
    q: Tensor,
    k: Tensor,
    write: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    ridge: Tensor,
    least: float,
    iterations: int,
) -> Tensor:
    """Compute `reference.ridge_solve` by the faster back end for these tensors; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(q, k, write, decay, state, start, ridge)
    form = chunk
    if pick("auto", q, k, write, decay, state, ridge) == "cpu":
        from .cpu import ridge_solve as form  # numba is imported at the first use
    return form(q, k, write, decay, state, start, ridge, least, iterations)
