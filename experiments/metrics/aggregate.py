"""Aggregates of scores [seeds, tasks] as the field reports them: IQM, optimality gap, profiles, improvement, Holm.

Source of all but Holm: Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice", arXiv 2108.13264.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["holm", "interquartile_mean", "optimality_gap", "performance_profile", "probability_of_improvement"]

Floats = NDArray[np.float64]


def interquartile_mean(scores: NDArray[Any], axis: int | tuple[int, ...] | None = None) -> Floats:
    """Return the mean of the middle half of the scores: a quarter, rounded down, is left out at each end.

    Args:
        scores: [...].
        axis: over these axes only; None is all.
    """
    axes = tuple(range(scores.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
    last = np.moveaxis(np.asarray(scores, np.float64), axes, range(-len(axes), 0))
    flat = last.reshape(*last.shape[: last.ndim - len(axes)], -1)
    low = flat.shape[-1] // 4
    high = flat.shape[-1] - low
    return np.asarray(np.partition(flat, (low, high - 1), axis=-1)[..., low:high].mean(-1))


def optimality_gap(scores: NDArray[Any], best: float = 1.0) -> float:
    """Return the mean of best - min(score, best): how far from the best score the runs stay."""
    return float(best - np.minimum(scores, best).mean())


def performance_profile(scores: NDArray[Any], thresholds: NDArray[Any]) -> Floats:
    """Return [thresholds] the share of runs with a score above each threshold, tasks weighted equally.

    Args:
        scores: [seeds, tasks].
        thresholds: [n].
    """
    return np.asarray((scores[None] > np.asarray(thresholds)[:, None, None]).mean((1, 2)))


def probability_of_improvement(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return P(X > Y) + P(X = Y) / 2 of a run of the first and one of the second agent, averaged over tasks.

    It is the Mann-Whitney U of a task over the number of pairs.

    Args:
        first: [seeds, tasks].
        second: [seeds', tasks].
    """
    pairs = first[:, None] - second[None]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def holm(p: NDArray[Any]) -> Floats:
    """Return p values adjusted by Holm's step-down method, for a family of questions asked together.

        p̃_(i) = max_{j ≤ i} min(1, (m - j + 1) p_(j))

    Args:
        p: [m].

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(np.minimum(1.0, (p.size - np.arange(p.size)) * p[order]))
    result = np.empty(p.size)
    result[order] = adjusted
    return result
