"""L2 normalisation of queries and keys."""

from torch import Tensor

__all__ = ["unit_length"]

TINY = 1e-6
"""Under the root of a squared length, so that zero stays zero and its gradient finite."""


def unit_length(x: Tensor) -> Tensor:
    """Return x [..., K] divided by its L2 norm along the last axis."""
    return x * (x.square().sum(-1, keepdim=True) + TINY).rsqrt()
