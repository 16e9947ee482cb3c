"""Softmax attention over a bounded cache that drops the least attended entry."""

from torch import Tensor

from lifelong.kernels.backends import pick

from .reference import check, heavy_hitter as reference

__all__ = ["heavy_hitter"]


def heavy_hitter(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    keys: Tensor,
    values: Tensor,
    score: Tensor,
    age: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.heavy_hitter`, compiled on the CPU; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(q, k, v, bias, keys, values, score, age, start)
    form = reference
    if pick("auto", q, k, v, bias, keys, values) == "cpu":
        from .cpu import heavy_hitter as form  # numba is imported at the first use
    return form(q, k, v, bias, keys, values, score, age, start)
