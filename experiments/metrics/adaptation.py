"""Adaptation after a task begins: recovery time, savings, adaptation gain, dynamic regret."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["adaptation_gain", "dynamic_regret", "median_recovery", "recovery_time", "savings"]

Floats = NDArray[np.float64]


def recovery_time(scores: NDArray[Any], target: float, window: int = 1) -> int | None:
    """Return the first k with a mean of scores[k : k + window] of at least `target`; None if censored: never seen.

        tau = min {k : 1/w Σ_{i < w} s_{k + i} ≥ target}

    Args:
        scores: [episodes] of one visit, from its first.
        target: e.g. 0.9 of the end of the visit before.
        window: w.

    Raises:
        ValueError: if the window is not positive.

    Source: New et al. 2022, "Lifelong learning metrics", arXiv 2201.08278 (performance recovery).
    """
    if window < 1:
        raise ValueError(f"window must be at least 1: window={window}")
    if len(scores) < window:
        return None
    means = np.convolve(np.asarray(scores, np.float64), np.full(window, 1 / window), "valid")
    reached = np.flatnonzero(means >= target - 1e-12)
    return int(reached[0]) if reached.size else None


def median_recovery(times: list[int | None], lengths: list[int]) -> float:
    """Return the Kaplan-Meier median of recovery times; inf if fewer than half recovered for sure.

    Args:
        times: of the visits; None is censored.
        lengths: the largest times that could have been seen in them, at which None was censored.

    Source: Kaplan and Meier 1958, doi:10.1080/01621459.1958.10501452.
    """
    from scipy.stats import CensoredData, ecdf

    seen = [time for time in times if time is not None]
    censored = [length for time, length in zip(times, lengths, strict=True) if time is None]
    if not seen:
        return float("inf")
    survival = ecdf(CensoredData(uncensored=seen, right=censored)).sf
    below = np.flatnonzero(survival.probabilities <= 0.5 + 1e-12)
    return float(survival.quantiles[below[0]]) if below.size else float("inf")


def savings(first: float, again: float) -> float:
    """Return (N_1 - N_v) / N_1, the part of the episodes to a criterion that relearning saves.

    Args:
        first: N_1, episodes to the criterion in the first visit.
        again: N_v, in the later visit.

    Raises:
        ValueError: if the first visit took no time.

    Source: Ebbinghaus 1885, "Über das Gedächtnis" (savings).
    """
    if not first > 0:
        raise ValueError(f"savings need a first visit that took time: first={first}")
    return (first - again) / first


def adaptation_gain(scores: NDArray[Any], best: float) -> float:
    """Return (s_K - s_1) / (s* - s_1), the part of the way to the best score that one visit makes.

    Args:
        scores: [K] of one visit.
        best: s*.
    """
    gap = best - float(scores[0])
    return float("nan") if gap == 0 else (float(scores[-1]) - float(scores[0])) / gap


def dynamic_regret(returns: NDArray[Any], best: NDArray[Any]) -> Floats:
    """Return [episodes] DR(N) = Σ_{n ≤ N} (J*_n - J_n), against what the best policy gets in each episode.

    Args:
        returns: [episodes] J.
        best: [episodes] J*, e.g. the rows' `cross`.

    Source: Besbes, Gur, Zeevi 2014, "Stochastic multi-armed-bandit problem with non-stationary rewards".
    """
    return np.cumsum(np.asarray(best, np.float64) - np.asarray(returns, np.float64))
