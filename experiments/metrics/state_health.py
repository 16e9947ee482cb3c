"""Health of a memory's state: norm, effective rank, stable rank, write strength, saturation.

A state is a dict of tensors [B, ...] by path, one row for each of B lives. `sigma` are the singular values of a
fast-weight matrix [V, K], `S` and `S'` a tensor of one life before and after a step:

| measure | formula | source |
| --- | --- | --- |
| norm | ||S||, the root of the sum of squares | Frobenius |
| effective rank | exp(-sum_i p_i log p_i),  p_i = sigma_i / sum_j sigma_j | Roy & Vetterli 2007 (EUSIPCO) |
| stable rank | sum_i sigma_i^2 / max_i sigma_i^2 | Rudelson & Vershynin 2007, arXiv:math/0503442 |
| write strength | ||S' - S|| / ||S'|| | ours |
| saturation | share of entries with abs(S_i) >= 0.95 max_j abs(S_j), over all entries of all lives | ours |

Both ranks are 1 for one outer product and n for n orthogonal ones of equal size; many small writes count in the
effective rank, and hardly in the stable one. A zero matrix uses no direction, a zero state is not written and at no
bound: all five are 0 there. Not finite is NaN.

The write strength is of all that a step changes, decay among it: a cache that shifts unlike entries has sqrt(2).
Saturation takes the bound from the state, since few memories have a known one. Where a bound is reached (1 in a GRU,
the ceiling b / (1 - a) of a decayed importance), it is the share within 5 % of it; where none is, it is near 0.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = [
    "effective_rank",
    "is_matrix",
    "large_tensors",
    "norm",
    "saturation",
    "singular_values",
    "stable_rank",
    "write_strength",
]

_WORTH = 0.5  # of a layer's largest tensor
_NEAR = 0.95  # of the bound


def large_tensors(state: Mapping[tuple[str, ...], Tensor]) -> dict[tuple[str, ...], Tensor]:
    """Return the floating-point tensors that have at least half as many entries as the largest of their layer.

    Smaller ones, such as the window of a convolution, are no memory to speak of.

    Args:
        state: [B, ...] tensors by path, which begins with the layer.
    """
    numbers = {path: x for path, x in state.items() if x.is_floating_point() and x.numel()}
    largest: dict[str, int] = {}
    for path, x in numbers.items():
        largest[path[0]] = max(largest.get(path[0], 0), x.numel())
    return {path: x for path, x in numbers.items() if x.numel() >= _WORTH * largest[path[0]]}


def is_matrix(path: tuple[str, ...], x: Tensor) -> bool:
    """Return whether a tensor of a state holds fast-weight matrices [B, ..., V, K], as S [B, H, V, K] does.

    Those have capital letters, as in the papers; a cache of vectors k [B, W, H, K] has a small one.

    Args:
        path: of the tensor.
        x: [B, ...].
    """
    return x.ndim >= 4 and path[-1][:1].isupper()


def norm(x: Tensor) -> Tensor:
    """Return the norm [B] of a tensor of B lives, [B, ...]."""
    size: Tensor = x.flatten(1).norm(dim=1)
    return size


def write_strength(before: Tensor, after: Tensor) -> Tensor:
    """Return the write strength [B] of a step, 0 where the state after it is 0.

    Args:
        before: [B, ...] a tensor of the state before the step.
        after: [B, ...] and after it.
    """
    change, size = norm(after - before), norm(after)
    return torch.where(size == 0, 0.0, change / size)


def singular_values(x: Tensor) -> Tensor:
    """Return the singular values of matrices in float64, the greatest first; NaN where an entry is not finite.

    Args:
        x: [..., V, K].

    Returns:
        [..., min(V, K)].
    """
    finite = x.isfinite().all(-1).all(-1)
    values: Tensor = torch.linalg.svdvals(torch.where(finite[..., None, None], x, 0.0).double())
    return torch.where(finite[..., None], values, torch.nan)


def effective_rank(sigma: Tensor) -> Tensor:
    """Return the effective rank [...] of matrices with singular values `sigma` [..., n], 0 of a zero matrix."""
    total = sigma.sum(-1, keepdim=True)
    entropy = torch.special.entr(sigma / total).sum(-1)
    return torch.where(total[..., 0] == 0, 0.0, entropy.exp())


def stable_rank(sigma: Tensor) -> Tensor:
    """Return the stable rank [...] of matrices with singular values `sigma` [..., n], 0 of a zero matrix."""
    greatest = sigma.amax(-1)
    return torch.where(greatest == 0, 0.0, (sigma / greatest[..., None]).square().sum(-1))


def saturation(x: Tensor) -> Tensor:
    """Return the saturation [] of a tensor of B lives, 0 if all entries are 0.

    Args:
        x: [B, ...].
    """
    size = x.abs()
    bound = size.max()
    share = (size >= _NEAR * bound).float().mean()
    return torch.where(bound.isfinite(), torch.where(bound == 0, 0.0, share), torch.nan)
