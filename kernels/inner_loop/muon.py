r"""Approximate orthogonalisation of a matrix by Newton-Schulz iteration (Muon).

    X <- G / |G|,   five times  X <- a X + (b A + c A^2) X  with A = X X^T

Each step moves the singular values of X towards 1; after five, those above about 1/1000 of |G| lie between 0.7 and 1.2.
G = 0 stays 0.

Shapes: G [..., R, C].
Cost: 5 (4 r^2 s + 2 r^3) floating-point operations with r the smaller and s the larger of R and C.
Source: Muon, https://kellerjordan.github.io/posts/muon/, with a coefficient for every step as LaCT has them,
arXiv:2505.23884.
"""

import torch
from torch import Tensor

__all__ = ["STEPS", "orthogonal", "orthogonal_flops"]

STEPS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
TINY = 1e-6


def orthogonal(G: Tensor) -> Tensor:
    """Return G [..., R, C] with its singular values brought near 1."""
    flat = G.shape[-2] <= G.shape[-1]
    X = G if flat else G.mT
    X = X * (X.square().sum((-2, -1), keepdim=True) + TINY).rsqrt()
    shape, X = X.shape, X.reshape(-1, *X.shape[-2:])
    for a, b, c in STEPS:
        A = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)
    X = X.view(shape)
    return X if flat else X.mT


def orthogonal_flops(rows: int, columns: int) -> int:
    """Return the floating-point operations of `orthogonal` for one matrix."""
    small, large = sorted((rows, columns))
    return len(STEPS) * (4 * small * small * large + 2 * small**3)
