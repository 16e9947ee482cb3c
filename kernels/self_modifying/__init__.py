"""A matrix that writes its own keys, values, rates and decays."""

from torch import Tensor

from .chunk import self_modifying as chunk
from .reference import check

__all__ = ["self_modifying"]


def self_modifying(
    q: Tensor,
    x: Tensor,
    z: Tensor,
    matrix: Tensor,
    frozen: Tensor,
    fast: Tensor,
    rate_bias: Tensor,
    fade_bias: Tensor,
    phase: Tensor,
    start: Tensor,
    batch: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run the recurrence of `reference.py`, where the arguments are explained, a mini-batch at a time.

    Raises:
        ValueError: if arguments do not fit each other, naming the one.
    """
    check(q, x, z, matrix, frozen, fast, rate_bias, fade_bias, phase, start, batch)
    return chunk(q, x, z, matrix, frozen, fast, rate_bias, fade_bias, phase, start, batch)
