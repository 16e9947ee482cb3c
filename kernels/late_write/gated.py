r"""A gated network without biases, and the gradients of f(k)^T v, by which it is trained to map k to v.

    f(x; W) = W_1 (silu(W_0 x) * (W_2 x))                                    W_0, W_2 [N, K], W_1 [V, N]
    gradients of f(k)^T v:    (W_1^T v * W_2 k * silu'(W_0 k)) k^T,    v (silu(W_0 k) * W_2 k)^T,
                              (W_1^T v * silu(W_0 k)) k^T

The derivatives are written out, so that autograd can differentiate through the training.

Shapes: S steps, K key dim, V value dim, N hidden units.
Source: arXiv:2505.23884.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["ascent", "read"]


def read(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return f [..., S, V] of x [..., S, K]; the weights are W_0, W_1 and W_2."""
    gate, out, up = weights
    return (functional.silu(x @ gate.mT) * (x @ up.mT)) @ out.mT


def ascent(weights: Sequence[Tensor], k: Tensor, v: Tensor, rate: Tensor) -> Tensor:
    """Return [..., P], the sum over the steps of the gradients of f(k)^T v, each matrix at a rate of its own.

    Args:
        weights: W_0, W_1 and W_2.
        k: [..., S, K] inputs.
        v: [..., S, V] targets.
        rate: [..., S, 3].
    """
    gate, out, up = weights
    z, u = k @ gate.mT, k @ up.mT
    opened = z.sigmoid()
    a = z * opened
    back = v @ out  # [..., S, N]
    by_gate, by_out, by_up = rate.split(1, -1)
    parts = (
        (by_gate * back * u * opened * (1 + z - a)).mT @ k,
        (by_out * v).mT @ (a * u),
        (by_up * back * a).mT @ k,
    )
    return torch.cat([part.flatten(-2) for part in parts], -1)
