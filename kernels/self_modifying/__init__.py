"""Self-modifying matrix: it computes the keys, values, rates and decays of its own delta rule (Hope)."""

from torch import Tensor

from lifelong.kernels.backends import loops_only, pick

from .chunk import self_modifying as chunk
from .reference import check, self_modifying as reference

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
    """Compute `reference.self_modifying` by the faster back end, in mini-batches; arguments as there.

    Raises:
        ValueError: if arguments do not fit each other, naming the one.
    """
    check(q, x, z, matrix, frozen, fast, rate_bias, fade_bias, phase, start, batch)
    form = reference if loops_only() else chunk
    if not loops_only() and pick("auto", q, x, z, matrix, frozen, fast, rate_bias, fade_bias) == "cpu":
        from .cpu import self_modifying as form  # numba is imported at the first use
    return form(q, x, z, matrix, frozen, fast, rate_bias, fade_bias, phase, start, batch)
