r"""Feature maps of queries and keys in linear attention.

    elu       elu(x) + 1                                                  K      arXiv:2006.16236
    relu      max(x, 0)                                                   K      arXiv:2103.13076
    taylor    1, x / K^(1/4), x_i x_j / sqrt(K) (i < j; 1/sqrt 2 if i = j)      1 + K + K (K + 1) / 2
                  phi(q) . phi(k) = 1 + a + a^2 / 2 with a = q . k / sqrt(K)    Based, arXiv:2402.18668
    dpfp      r_i r_(i - n) for n = 1 ... nu, r = [max(x, 0), max(-x, 0)], divided by their sum
                                                                          2 K nu  arXiv:2102.11174

The right column is F, the width of the result. Taylor keeps each product of two channels once, where Based keeps it
twice: the same scalar products with half the state. DPFP is Schlag's, where the second half of r is not negative.

Shapes: H heads, K key dim, F features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifelong.memory.memory import constants_device

__all__ = ["DPFP", "ELU", "FeatureMap", "ReLU", "Taylor"]

EPS = 1e-6


class FeatureMap(nn.Module):
    """Base of feature maps from [..., H, K] to [..., H, F].

    Args:
        features: F.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [..., H, F] of x [..., H, K]."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(x)")


class ELU(FeatureMap):
    """ELU features: elu(x) + 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [..., H, K] of x [..., H, K]."""
        return functional.elu(x) + 1


class ReLU(FeatureMap):
    """ReLU features: max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [..., H, K] of x [..., H, K]."""
        return x.relu()


class Taylor(FeatureMap):
    """Taylor features: a scalar product equal to the exponential to second order.

    Args:
        key_dim: K.
    """

    def __init__(self, key_dim: int) -> None:
        super().__init__(1 + key_dim + key_dim * (key_dim + 1) // 2)
        self.pairs: Tensor
        self.register_buffer(
            "pairs", torch.triu_indices(key_dim, key_dim, 1, device=constants_device()), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [..., H, F] of x [..., H, K]."""
        K, (i, j) = x.shape[-1], self.pairs
        squares, products = x.square() / (2 * K) ** 0.5, x[..., i] * x[..., j] / K**0.5
        return torch.cat([torch.ones_like(x[..., :1]), x / K**0.25, squares, products], -1)


class DPFP(FeatureMap):
    """DPFP features: products of neighbours among the positive and negative parts.

    Args:
        key_dim: K.
        nu: distances between neighbours.

    Raises:
        ValueError: if `nu` is not between 1 and 2 K - 1.
    """

    def __init__(self, key_dim: int, nu: int = 1) -> None:
        if not 0 < nu < 2 * key_dim:
            raise ValueError(f"nu must be between 1 and 2 K - 1 = {2 * key_dim - 1}: nu={nu}")
        super().__init__(2 * key_dim * nu)
        self.nu = nu

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [..., H, F] of x [..., H, K]."""
        r = torch.cat([x, -x], -1).relu()
        products = torch.cat([r * r.roll(n, -1) for n in range(1, self.nu + 1)], -1)
        return products / (products.sum(-1, keepdim=True) + EPS)
