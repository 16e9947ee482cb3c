"""Intervals of a mean of scores between two bounds, from rows that depend on each other within a life."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["Shares", "binned_shares", "effective_count", "few_lives", "weighted_interval", "wilson_interval"]

Floats = NDArray[np.float64]

_ROUNDING = 1e-12  # variances that are no more than that are none


def wilson_interval(mean: Any, count: Any, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return Wilson's score interval of a mean of `count` independent scores between 0 and 1.

        (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)

    For 0/1 scores its coverage is known exactly from the binomial: .921 to .974 at P = .5, .9, .97, .99 with 30, 100
    and 1,000 rows; no interval of a binomial stays within .93 to .97 there, since few counts are possible.

    Args:
        mean: [...] p.
        count: [...] n, also a fraction; no interval (NaN) where it is 0.
        level: of confidence.

    Source: E. B. Wilson 1927, doi:10.1080/01621459.1927.10502953; Brown, Cai, DasGupta 2001, doi:10.1214/ss/1009213286.
    """
    p, n = np.asarray(mean, np.float64), np.asarray(count, np.float64)
    z = special.ndtri(0.5 + level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(np.clip(p * (1 - p), 0, None) / n + z**2 / (4 * n**2))
        low, high = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
    known = (n > 0) & ~np.isnan(p)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def effective_count(sums: Floats, counts: Floats, expected: Floats | None = None, level: float = 0.95) -> Floats:
    """Return how many independent 0/1 rows would make the mean as sure as these rows in lives do.

        n_eff = p (1 - p) / var(p̂) · (z / t_{L-1})²,    var(p̂) = L / (L - 1) · Σ_l (s_l - e_l)² / (Σ_l n_l)²

    with s_l and n_l sum and count of the scores of life l, e_l what is expected of s_l, L lives with rows, and the
    quantiles z and t of the interval, since a variance of few lives is not known well. It is more than the number of
    rows n where rows differ in what is expected of them, or scores are not 0 or 1 and vary less. It is n where no
    variance is seen (p is 0 or 1) or only one life has rows: the interval is then about that life alone.

    Wilson's interval with it covers .93 to .985 for independent rows in 4 or more lives of 1 to 50 rows, at P = .5, .9,
    .97 and .99; and .92 to .985 where lives differ (beta-binomial, correlation .1 within a life), while several lives
    have failed. Where nearly all lives are perfect and few fail often, lives too few to have met one that fails say
    nothing of it: .84 at P = .99 with 20 lives of 50 rows.

    Args:
        sums: [lives, ...] sums of scores between 0 and 1.
        counts: [lives, ...] number of rows.
        expected: [lives, ...] e; None is p n_l.
        level: of confidence of the interval.

    Source: the design effect of cluster samples, Kish 1965, Survey Sampling; Rao and Scott 1992, doi:10.2307/2532311;
    the quantiles, Korn and Graubard 1998, Survey Methodology 24, 193.
    """
    n, lives = counts.sum(0), (counts > 0).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = sums.sum(0) / n
        residuals = sums - (p * counts if expected is None else expected)
        variance = (residuals**2).sum(0) / n**2 * lives / (lives - 1)
        effective = p * (1 - p) / variance * few_lives(lives, level)
        seen = (variance > _ROUNDING * p * (1 - p) / n) & (p * (1 - p) > _ROUNDING)
    return np.asarray(np.where(seen & (lives > 1), effective, n))


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of rows in bins, NaN in bins with too few rows.

    Args:
        mean: share of the rows of each bin.
        low: lower end of its 95 % interval.
        high: upper end.
        count: rows.
    """

    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    count: tuple[int, ...]


def binned_shares(
    life: NDArray[Any], place: NDArray[np.int64], hit: NDArray[Any], bins: int, *, minimum: int = 30
) -> Shares:
    """Return the share of hits in each bin, with Wilson's interval for rows that depend on each other within a life.

    Args:
        life: [rows] number of the life.
        place: [rows] number of the bin.
        hit: [rows] 1 or 0.
        bins: number of bins.
        minimum: rows below which a bin has no value.
    """
    lives, number = np.unique(life, return_inverse=True)
    cell, size = number * bins + place, lives.size * bins
    counts, sums = (
        np.bincount(cell, weights, size).reshape(lives.size, bins).astype(np.float64) for weights in (None, hit)
    )
    count = counts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(count >= minimum, sums.sum(0) / count, np.nan)
    low, high = wilson_interval(mean, effective_count(sums, counts))
    return Shares(tuple(mean.tolist()), tuple(low.tolist()), tuple(high.tolist()), tuple(count.astype(int).tolist()))


def weighted_interval(
    g: Floats, sums: Floats, counts: Floats, expected: Floats | None = None, *, binary: bool = True, level: float = 0.95
) -> tuple[float, float]:
    """Return Wilson's interval of a weighted sum of means, Σ_k g_k μ_k, from rows in lives.

    The sum over Σ_k g_k is a mean of scores between 0 and 1, worth as many independent rows as its variance over lives
    says (see `effective_count`), or with one life that of independent rows. Where no variance is seen it is worth as
    many as if μ were the same in all strata,

        (Σ_k g_k)² / Σ_k (g_k² / n_k)

    and where scores are 0 or 1 never more than that: a failure in a stratum of few rows counts for much and is seldom
    seen. Over strata of 2 to 32 rows a life it covers .93 to .985, as `effective_count` says of one.

    Args:
        g: [strata] weights, positive.
        sums: [lives, strata] sums of scores between 0 and 1.
        counts: [lives, strata] number of rows, of each stratum at least one.
        expected: [lives, strata] expected sums; None is μ_k times the rows.
        binary: whether scores are 0 or 1.
        level: of confidence.
    """
    n, lives, weight = counts.sum(0), int((counts.sum(1) > 0).sum()), float(g.sum())
    mean = sums.sum(0) / n
    p = float((g * mean).sum()) / weight
    influence = ((sums - (mean * counts if expected is None else expected)) * g / n).sum(1) / weight
    if lives > 1:
        variance = float((influence**2).sum()) * lives / (lives - 1) / float(few_lives(lives, level))
    else:
        variance = float((g**2 * mean * (1 - mean) / n).sum()) / weight**2
    rows = weight**2 / float((g**2 / n).sum())
    between = p * (1 - p) > _ROUNDING
    seen = between and variance > _ROUNDING * p * (1 - p) / rows
    if between and not (seen or binary):  # scores that are alike, and not since none fails
        return p * weight, p * weight
    effective = p * (1 - p) / variance if seen else rows
    low, high = wilson_interval(p, min(effective, rows) if binary else effective, level)
    return float(low) * weight, float(high) * weight


def few_lives(lives: Any, level: float = 0.95) -> Floats:
    """Return (z / t_{L-1})², by which a variance of L lives counts for less than a known one; NaN for one life."""
    degrees = np.where(np.asarray(lives) > 1, np.asarray(lives, np.float64) - 1, np.nan)
    tail = 0.5 + level / 2
    return np.asarray((special.ndtri(tail) / special.stdtrit(degrees, tail)) ** 2)
