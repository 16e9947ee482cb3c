r"""Learned feature maps of queries and keys in linear attention.

    rebased   (gamma layer_norm(x) + beta)^2, gamma and beta learned                        K      arXiv:2402.10644
    hedgehog  softmax([W x, -W x]), W learned per head, at first the identity               2 K    arXiv:2402.04347

The right column is F, the width of the result.

Shapes: H heads, K key dim, F features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifelong.memory.additive.feature_map import FeatureMap

__all__ = ["Hedgehog", "Rebased"]


class Rebased(FeatureMap):
    """ReBased features: a learned parabola of every normalised channel.

    Args:
        num_heads: H.
        key_dim: K.
    """

    def __init__(self, num_heads: int, key_dim: int) -> None:
        super().__init__(key_dim)
        self.scale = nn.Parameter(torch.ones(num_heads, key_dim))
        self.shift = nn.Parameter(torch.zeros(num_heads, key_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [..., H, K] of x [..., H, K]."""
        return (self.scale * functional.layer_norm(x, x.shape[-1:]) + self.shift).square()


class Hedgehog(FeatureMap):
    """Hedgehog features: a softmax over learned channels and their negatives.

    Args:
        num_heads: H.
        key_dim: K.
    """

    def __init__(self, num_heads: int, key_dim: int) -> None:
        super().__init__(2 * key_dim)
        self.weight = nn.Parameter(torch.eye(key_dim).repeat(num_heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [..., H, F] of x [..., H, K]."""
        z = (self.weight @ x[..., None])[..., 0]
        return torch.cat([z, -z], -1).softmax(-1)
