"""Paired comparisons of agents over training seeds: difference, interval, p, and a verdict on what was expected.

Seeds are the unit: both agents of a pair have the same lives, so each seed gives one difference. With n differences d

    t = (mean d - margin) / (std d / sqrt n),    p = min(1, 2 P(T_{n-1} > t))      for "above the margin"

is Student's paired test of one direction, doubled because a hypothesis can fail in two: it is *supported* if the
difference is above its margin (p < .05), *refuted* if it is below the smallest effect of interest (the same test the
other way), else *not told apart*. Without a difference, one of the two is concluded in at most 5 % of studies.
Differences without any spread have no t: then p is that of the sign test, 2^(1-n).

The best of several arms is the one with the greatest mean over seeds. "A exceeds the best of B, C" is concluded if A
exceeds each (the largest p: intersection-union, no correction needed); "the best of A, B exceeds C" if one of them does
at its share of the level (the smallest p times their number, Bonferroni).

The interval is the paired bootstrap over seeds from ten seeds on, in which the best arm is chosen anew in every
resample; with 3 to 9 seeds it is Student's, of the arms that were the best; with fewer there is none.

Source: Student 1908; Berger 1982, doi:10.1080/00401706.1982.10487790 (intersection-union); Holm 1979.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lifelong.experiments.metrics.bootstrap import percentile_interval

__all__ = ["LEVEL", "Compared", "Verdict", "compare", "p_of_mean", "verdict"]

Floats = NDArray[np.float64]
Verdict = Literal["supported", "refuted", "not told apart"]

LEVEL = 0.05
"""Share of studies without a difference in which one is concluded, at most."""
_BOOTSTRAP = 10  # seeds from which the interval is one
_LEAST = 3  # for an interval and a p
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Compared:
    """Difference of two sides over seeds.

    Args:
        points: of each seed, with the arms that are the best over all seeds.
        difference: mean of the points.
        low: lower end of its 95 % interval; NaN with fewer than three seeds.
        high: upper end.
        interval: how it was made; empty without one.
        p_above: of "the difference is above the margin"; 1 with fewer than three seeds.
        p_below: of "the difference is below the smallest effect of interest".
    """

    points: tuple[float, ...]
    difference: float
    low: float
    high: float
    interval: Literal["", "t", "bootstrap"]
    p_above: float
    p_below: float


def compare(
    left: NDArray[Any],
    right: NDArray[Any],
    margin: float = 0.0,
    smallest: float | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Compared:
    """Return the difference left - right, the best arm of each, over paired seeds.

    Args:
        left: [arms, seeds].
        right: [arms, seeds], the same seeds.
        margin: that the difference is expected to be above.
        smallest: effect of interest, at least the margin; None is the margin.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: if the seeds differ in number, a value is not known (NaN), or `smallest` is below the margin.
    """
    a, b = (np.asarray(side, np.float64) for side in (left, right))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not a.size:
        raise ValueError(f"pairs need arms of equal seeds: {a.shape} and {b.shape}")
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a value is not known")
    least = margin if smallest is None else smallest
    if least < margin:
        raise ValueError(f"the smallest effect of interest lies below the margin: {least} < {margin}")
    seeds = a.shape[1]
    points = a[a.mean(1).argmax()] - b[b.mean(1).argmax()]
    low, high, kind = _interval(a, b, points, resamples, seed)
    pairs = a[:, None] - b[None]  # [left arms, right arms, seeds]
    above = p_of_mean(pairs, margin) if seeds >= _LEAST else np.ones(pairs.shape[:2])
    below = p_of_mean(-pairs, -least) if seeds >= _LEAST else np.ones(pairs.shape[:2])
    p_above = min(1.0, a.shape[0] * float(above.max(1).min()))  # one of the left exceeds all of the right
    p_below = min(1.0, b.shape[0] * float(below.max(0).min()))  # one of the right exceeds all of the left
    return Compared(tuple(points.tolist()), float(points.mean()), low, high, kind, p_above, p_below)


def verdict(p_above: float, p_below: float) -> Verdict:
    """Return what is concluded of p values that are corrected for the family of questions.

    Args:
        p_above: of what is expected.
        p_below: of an effect below the smallest of interest; it decides where both are small.
    """
    if p_below < LEVEL:
        return "refuted"
    return "supported" if p_above < LEVEL else "not told apart"


def p_of_mean(differences: Floats, margin: float) -> Floats:
    """Return [...] p of "the mean is above the margin", doubled: of the t test, of the sign test where all are equal.

    Args:
        differences: [..., seeds].
        margin: of the mean.
    """
    n = differences.shape[-1]
    mean, spread = differences.mean(-1) - margin, differences.std(-1, ddof=1)
    same = spread <= 1e-12 * np.maximum(np.abs(differences).max(-1), 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / (spread / math.sqrt(n))
    p = np.minimum(1.0, 2 * stats.t.sf(t, n - 1))
    of_signs = np.where(mean > 0, 2.0 ** (1 - n), 1.0)
    return np.asarray(np.where(same, of_signs, p))


def _interval(
    a: Floats, b: Floats, points: Floats, resamples: int, seed: int
) -> tuple[float, float, Literal["", "t", "bootstrap"]]:
    seeds = points.size
    if seeds < _LEAST:
        return _NAN, _NAN, ""
    if seeds < _BOOTSTRAP:
        half = float(stats.t.ppf(0.975, seeds - 1) * points.std(ddof=1) / math.sqrt(seeds))
        return float(points.mean()) - half, float(points.mean()) + half, "t"
    chosen = np.random.default_rng(seed).integers(seeds, size=(resamples, seeds))
    draws = a[:, chosen].mean(-1).max(0) - b[:, chosen].mean(-1).max(0)
    return *percentile_interval(draws, seeds), "bootstrap"
