r"""Parametrisations: the network's weights W as a function of the accumulated A.

    identity    W = A
    l4          W = A / sqrt(|A|_4^4 + eps)   |A|_4 of each layer, held at its value when the mini-batch began
    softmax     W = n softmax(A) - 1          each row a distribution over its n columns: what each has beyond its part

Shapes: A, W [..., rows, columns]; what is held [..., 1, 1].
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Parametrisation", "effective", "reaches"]

Parametrisation = Literal["identity", "l4", "softmax"]
EPS = 1e-4


def reaches(frozen: Sequence[Tensor], parametrisation: Parametrisation) -> list[Tensor] | None:
    """Return what a unit of A counts for in W [..., 1, 1] in the mini-batch that began with `frozen`; None for 1."""
    if parametrisation != "l4":
        return None
    return [1 / (A.square().square().sum((-2, -1), keepdim=True) + EPS).sqrt() for A in frozen]


def effective(
    accumulated: Sequence[Tensor], reach: Sequence[Tensor] | None, parametrisation: Parametrisation
) -> list[Tensor]:
    """Return W for A, with what `reaches` said of its mini-batch."""
    if parametrisation == "softmax":
        return [_beyond_its_part(A) for A in accumulated]
    if reach is None:
        return list(accumulated)
    return [r * A for r, A in zip(reach, accumulated, strict=True)]


def _beyond_its_part(A: Tensor) -> Tensor:
    """Return n softmax(A) - 1 without the loss of digits where A is nearly even."""
    odds = torch.expm1(A - A.detach().amax(-1, keepdim=True))
    mean = odds.mean(-1, keepdim=True)
    return (odds - mean) / (1 + mean)
