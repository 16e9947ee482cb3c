"""Bootstrap over training seeds, of scores of several tasks."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["paired_interval", "percentile_interval", "stratified_interval"]

Floats = NDArray[np.float64]


def percentile_interval(draws: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return the ends [...] of the percentile interval of draws [resamples, ...]; NaN where a quarter is not known."""
    tail = (1.0 - level) / 2.0
    usable = np.isfinite(draws).mean(0) > 0.75  # where rows are so few that resamples often miss them all: nothing
    ends = np.nanquantile(np.where(usable, draws, 0.0), [tail, 1.0 - tail], axis=0)
    low, high = np.where(usable, ends, np.nan)
    return low, high


def stratified_interval(
    scores: NDArray[Any], statistic: Callable[[Floats], Floats], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a statistic over seeds, seeds resampled within each task.

    Args:
        scores: [seeds, tasks].
        statistic: of scores [resamples, seeds, tasks]; returns [resamples].
        resamples: number of draws.
        seed: of the draws.

    Source: Agarwal et al. 2021, arXiv 2108.13264.
    """
    seeds, tasks = scores.shape
    chosen = np.random.default_rng(seed).integers(seeds, size=(resamples, seeds, tasks))
    low, high = percentile_interval(statistic(np.asarray(scores, np.float64)[chosen, np.arange(tasks)]))
    return float(low), float(high)


def paired_interval(
    first: NDArray[Any],
    second: NDArray[Any],
    statistic: Callable[[Floats], Floats],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a difference of statistics, pairs of equal seed resampled together.

    Args:
        first: [seeds, tasks] scores.
        second: [seeds, tasks] those of the other agent, in the same lives.
        statistic: of scores [resamples, seeds, tasks]; returns [resamples].
        resamples: number of draws.
        seed: of the draws.

    Raises:
        ValueError: if the shapes differ: then nothing is paired.
    """
    if first.shape != second.shape:
        raise ValueError(f"pairs need equal seeds and tasks: {first.shape} and {second.shape}")
    seeds, tasks = first.shape
    chosen = np.random.default_rng(seed).integers(seeds, size=(resamples, seeds, tasks)), np.arange(tasks)
    drawn = (np.asarray(scores, np.float64)[chosen] for scores in (first, second))
    low, high = percentile_interval(np.subtract(*(statistic(scores) for scores in drawn)))
    return float(low), float(high)
