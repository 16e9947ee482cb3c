"""Plasticity of the slow weights: dormant units, rank of the features, weight norm, shares of the gradient.

| measure | formula | source |
| --- | --- | --- |
| dormant units | share of units u with s_u <= tau,  s_u = E abs(h_u) / mean_k E abs(h_k) over the units k of its layer; see `lifelong.agents.dormant_units` | Sokar et al. 2023, arXiv:2302.12902; tau = 0.025 as there |
| feature rank (srank) | least k with sum_{i<=k} sigma_i >= (1 - delta) sum_i sigma_i | Kumar et al. 2021, arXiv:2010.14498; delta = 0.01 as there |
| weight norm | root of the sum of squares of all weights | |
| share clipped | 1 - min(1, c / ||g||), c the norm that gradients are clipped to | |
| share of the value | ||g_V|| / (||g_π|| + ||g_V||), gradients of policy and value in the weights they share | |

h [n, N] are the outputs of a layer's N units at n steps, sigma the singular values of the features [n, D] that policy and
value read. Features of 0 have rank 0. Not finite is NaN.
"""  # noqa: E501  rows of a table

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lifelong.agents.dormant_units import TAU, dormant
from lifelong.experiments.metrics.state_health import singular_values

__all__ = [
    "DELTA",
    "clipped_share",
    "dormant_share",
    "srank",
    "value_share",
    "weight_norm",
]

DELTA = 0.01
"""Share of the sum of singular values that the rank of features leaves out."""


def dormant_share(layers: Sequence[Tensor], tau: float = TAU) -> float:
    """Return the share of dormant units among those of all layers; NaN if there are none.

    Args:
        layers: [N] activity of the units of each layer.
        tau: as in `dormant`.
    """
    units = sum(active.numel() for active in layers)
    if not units or not all(bool(active.isfinite().all()) for active in layers):
        return math.nan
    return sum(int(dormant(active, tau).sum()) for active in layers) / units


def srank(features: Tensor, delta: float = DELTA) -> float:
    """Return the rank of features [n, D] without the share `delta` of the sum of their singular values."""
    sigma = singular_values(features)
    total = sigma.sum()
    if not total.isfinite():
        return math.nan
    return float((sigma.cumsum(0) < (1 - delta) * total).sum()) + float(total > 0)


def weight_norm(weights: Iterable[Tensor]) -> float:
    """Return the norm of all weights together."""
    return float(torch.stack([weight.detach().norm() for weight in weights]).norm())


def clipped_share(norm: float, most: float) -> float:
    """Return the share of a gradient that clipping takes away.

    Args:
        norm: of the gradient.
        most: norm that it is clipped to.
    """
    return 1 - min(1.0, most / norm) if norm > 0 else 0.0


def value_share(of_policy: float, of_value: float) -> float:
    """Return the share of the value in the gradient of the weights that policy and value share; NaN without any.

    Args:
        of_policy: norm of the policy's gradient.
        of_value: norm of the value's gradient, with its weight.
    """
    total = of_policy + of_value
    return of_value / total if total > 0 else math.nan
