"""Polynomial keys: a vector and the products of its channels, at length 1.

    phi(x) = (a_1 x, a_2 x x^T) / |(a_1, a_2)|            of x x^T, symmetric, each entry once

phi(x)^T phi(y) = (a_1^2 s + a_2^2 s^2) / (a_1^2 + a_2^2) with s = x^T y, for x and y of length 1.

Shapes: H heads, K key dim, E = K + K (K + 1) / 2 features.
Source: arXiv:2505.23735.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["polynomial", "polynomial_width"]


def polynomial(x: Tensor, powers: Tensor) -> Tensor:
    """Return phi [..., H, E] of length 1 for x [..., H, K] of length 1, with a = powers [H, 2]."""
    K = x.shape[-1]
    row, column = torch.triu_indices(K, K, device=x.device)
    share = x.new_full(row.shape, 2**0.5).masked_fill(row == column, 1.0)
    squares = x[..., row] * x[..., column] * share
    first, second = functional.normalize(powers, dim=-1).split(1, -1)  # [H, 1]
    return torch.cat([first * x, second * squares], -1)


def polynomial_width(key_dim: int) -> int:
    """Return E for K."""
    return key_dim + key_dim * (key_dim + 1) // 2
