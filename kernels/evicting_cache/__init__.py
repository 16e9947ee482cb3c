"""A cache in front of linear attention: it keeps the pairs that the sums recall worst."""

from torch import Tensor

from lifelong.kernels.backends import pick

from .reference import check, evicting_cache as reference

__all__ = ["evicting_cache"]


def evicting_cache(
    q: Tensor,
    phi: Tensor,
    pairs: Tensor,
    came: Tensor,
    kept: Tensor,
    S: Tensor,
    start: Tensor,
    sharpness: Tensor,
    linear_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.evicting_cache`, compiled on the CPU; arguments as there.

    Raises:
        ValueError: if the shapes do not fit each other, naming the argument.
    """
    check(q, phi, pairs, came, kept, S, start, sharpness, linear_bias)
    form = reference
    if pick("auto", q, phi, pairs, kept, S, sharpness, linear_bias) == "cpu":
        from .cpu import evicting_cache as form  # numba is imported at the first use
    return form(q, phi, pairs, came, kept, S, start, sharpness, linear_bias)
