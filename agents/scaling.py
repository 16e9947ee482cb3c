"""Scale numbers of observations: by their bounds, by what was observed, or by their logarithm.

| numbers | scaled |
| --- | --- |
| bounded | to [-1, 1] |
| unbounded | sign(x) log(1 + |x|) |
| normalised | (x - mean) / standard deviation, clipped to ±10 |
| previous reward, scaled | sign(z) log(1 + |z|), z = x / root mean square: alike for rewards of .001 and of 1,000 |

Mean and variance are of everything observed so far; they change only by `update`, so that a frozen agent keeps them.
`auto` normalises floats with bounds beyond [-1, 1] or none: bounds are often far from what is reached (Acrobot's
velocities are bounded by ±28 and stay within ±3), while an entry within [-1, 1] was scaled by whoever made it.

Source: Andrychowicz et al. 2020, "What matters in on-policy reinforcement learning", arXiv 2006.05990 (normalisation
and clipping of observations); variances are merged as in Chan, Golub and LeVeque 1983.
"""

from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["NORMALIZE", "Normalize", "Path", "Scaling"]

Path = tuple[str, ...]
Normalize = Literal["auto", "on", "off"]
NORMALIZE: tuple[Normalize, ...] = get_args(Normalize)

_CLIP = 10.0  # as in VecNormalize and gymnasium's wrappers
_WIDEST = 1e4  # bounds farther apart say nothing about what is reached
_NOISE = 1e-6  # deviations below this share of the mean are rounding


class Scaling(nn.Module):
    """Scale the numbers of all entries of an observation, side by side.

    Args:
        leaves: Box and MultiBinary entries by path, in order; N numbers in all.
        normalize: which numbers of `observation` are normalised: floats whose bounds are not within [-1, 1] (`auto`),
            all of Box entries (`on`), none (`off`). Unless it is `off`, `previous_reward` is scaled by what was
            observed, too.

    Raises:
        ValueError: if `normalize` is none of these words, or `on` where there are no numbers.
    """

    def __init__(self, leaves: dict[Path, spaces.Box | spaces.MultiBinary], normalize: Normalize) -> None:
        super().__init__()
        if normalize not in NORMALIZE:
            raise ValueError(f"normalize must be one of {', '.join(NORMALIZE)}, got {normalize!r}")
        parts = [_edges(leaf) for leaf in leaves.values()] or [(np.zeros(0), np.zeros(0))]
        low, high = (torch.as_tensor(np.concatenate(edge), dtype=torch.float32) for edge in zip(*parts, strict=True))
        if normalize == "on" and not any(_chosen(path, leaf, normalize).any() for path, leaf in leaves.items()):
            said = "normalize_observation must be auto or off where an observation holds no numbers, got 'on'"
            raise ValueError(said)
        normalised = _joined([_chosen(path, leaf, normalize) for path, leaf in leaves.items()])
        is_reward = [np.full(_size(leaf), path[0] == "previous_reward") for path, leaf in leaves.items()]
        reward = _joined(is_reward) & (normalize != "off")
        self.running = bool((normalised | reward).any())
        """Whether anything is scaled by what was observed."""
        bounded = torch.isfinite(low) & torch.isfinite(high) & (high - low < _WIDEST)
        self.center: Tensor
        self.reach: Tensor
        self.linear: Tensor
        kept = self.running
        self.register_buffer("linear", bounded, persistent=kept)
        self.register_buffer("center", torch.where(bounded, (low + high) / 2, 0.0), persistent=kept)
        self.register_buffer("reach", torch.where(bounded, ((high - low) / 2).clamp_min(1e-6), 1.0), persistent=kept)
        self.squash = not bool(bounded.all())
        if self.running:
            self.count: Tensor
            self.mean: Tensor
            self.deviations: Tensor
            self.register_buffer("count", torch.zeros((), dtype=torch.float64))
            self.register_buffer("mean", torch.zeros(low.shape, dtype=torch.float64))
            self.register_buffer("deviations", torch.zeros(low.shape, dtype=torch.float64))
            self.normalised: Tensor
            self.reward: Tensor
            self.limit: Tensor
            self.register_buffer("normalised", normalised, persistent=False)
            self.register_buffer("reward", reward, persistent=False)
            self.register_buffer("limit", torch.where(normalised, _CLIP, torch.inf), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled numbers [..., N]."""
        scaled = (x - self.center) / self.reach
        if self.running:
            scaled = scaled.clamp(-self.limit, self.limit)
        if self.squash:
            scaled = torch.where(self.linear, scaled, scaled.sign() * scaled.abs().log1p())
        return scaled

    def update(self, x: Tensor) -> None:
        """Take numbers [..., N] into account."""
        new = x.reshape(-1, x.shape[-1]).double()
        new = torch.where(torch.isfinite(new), new, self.mean)
        mean, n, count = new.mean(0), new.shape[0], self.count
        apart, total = mean - self.mean, count + n
        self.deviations += ((new - mean) ** 2).sum(0) + apart**2 * (count * n / total)
        self.mean += apart * (n / total)
        self.count.fill_(total)
        variance = self.deviations / total
        spread, size = variance.sqrt(), (variance + self.mean**2).sqrt()
        told = spread > _NOISE * self.mean.abs()  # else it was constant so far
        self.center.copy_(torch.where(self.normalised, self.mean, self.center))
        self.reach.copy_(torch.where(self.normalised, torch.where(told, spread, 1.0), self.reach))
        self.reach.copy_(torch.where(self.reward & (size > 0), size, self.reach))
        self.linear |= self.normalised


def _size(leaf: spaces.Box | spaces.MultiBinary) -> int:
    return int(np.prod(leaf.shape))


def _joined(parts: list[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.bool_)) if parts else torch.zeros(0, dtype=torch.bool)


def _chosen(path: Path, leaf: spaces.Box | spaces.MultiBinary, normalize: Normalize) -> NDArray[Any]:
    """Return [N] which numbers of an entry are normalised."""
    if path[0] != "observation" or normalize == "off" or not isinstance(leaf, spaces.Box):
        return np.zeros(_size(leaf), np.bool_)
    if normalize == "on":
        return np.ones(_size(leaf), np.bool_)
    if leaf.dtype.kind != "f":
        return np.zeros(_size(leaf), np.bool_)
    return ((leaf.low < -1) | (leaf.high > 1)).reshape(-1)


def _edges(leaf: spaces.Box | spaces.MultiBinary) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the bounds of all numbers of an entry; flags are not scaled."""
    if isinstance(leaf, spaces.Box):
        return leaf.low.reshape(-1), leaf.high.reshape(-1)
    return np.full(_size(leaf), -1.0), np.full(_size(leaf), 1.0)
