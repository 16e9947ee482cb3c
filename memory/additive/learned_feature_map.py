r"""Learned feature maps of queries and keys in linear attention.

    rebased   x_i x_j sqrt(2 / K) (i < j; 1 / sqrt K if i = j) of x' = gamma layer_norm(x) + beta
                  phi(q) . phi(k) = (q' . k')^2 / K                                 K (K + 1) / 2  arXiv:2402.10644
    hedgehog  softmax([W x, -W x]), W learned per head, at first the identity               2 K    arXiv:2402.04347

The right column is F, the width of the result. gamma and beta of ReBased are learned, of queries and of keys apart, and
per head, where the paper shares them; each product of two channels is kept once.

Shapes: H heads, K key dim, F features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifelong.memory.additive.feature_map import FeatureMap
from lifelong.memory.memory import constants_device

__all__ = ["Hedgehog", "Rebased"]


class Rebased(FeatureMap):
    """ReBased features: all products of two channels of a learned affine map of the layer-normed input.

    Args:
        num_heads: H.
        key_dim: K.
    """

    outdated = "since 0.2 rebased squares the scalar product of the two maps, not every channel"

    def __init__(self, num_heads: int, key_dim: int) -> None:
        super().__init__(key_dim * (key_dim + 1) // 2)
        self.gamma = nn.Parameter(torch.ones(num_heads, key_dim))
        self.beta = nn.Parameter(torch.zeros(num_heads, key_dim))
        self.pairs: Tensor
        self.register_buffer(
            "pairs", torch.triu_indices(key_dim, key_dim, 1, device=constants_device()), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [..., H, F] of x [..., H, K]."""
        K, (i, j) = x.shape[-1], self.pairs
        x = self.gamma * functional.layer_norm(x, x.shape[-1:]) + self.beta
        return torch.cat([x.square() / K**0.5, x[..., i] * x[..., j] * (2 / K) ** 0.5], -1)


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
