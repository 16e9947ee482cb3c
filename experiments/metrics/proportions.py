"""Intervals of a mean of scores between two bounds, from rows that depend on each other within a life."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["effective_count", "wilson_interval"]

Floats = NDArray[np.float64]


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
    z = stats.norm.ppf(0.5 + level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(np.clip(p * (1 - p), 0, None) / n + z**2 / (4 * n**2))
        low, high = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
    known = (n > 0) & ~np.isnan(p)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def effective_count(sums: Floats, counts: Floats) -> Floats:
    """Return how many independent 0/1 rows would make the mean as sure as these rows in lives do.

        n_eff = p (1 - p) / var(p̂),    var(p̂) = L / (L - 1) · Σ_l (s_l - p n_l)² / (Σ_l n_l)²

    with s_l and n_l sum and count of the scores of life l, and L lives with rows. It is at most the number of rows, and
    is that number where p is 0 or 1 (no variance is seen there) or only one life has rows (none can be).

    Args:
        sums: [lives, ...] sums of scores between 0 and 1.
        counts: [lives, ...] how many rows.

    Source: the design effect of cluster samples, Kish 1965, Survey Sampling; Rao and Scott 1992, doi:10.2307/2532311.
    """
    n, lives = counts.sum(0), (counts > 0).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = sums.sum(0) / n
        variance = ((sums - p * counts) ** 2).sum(0) / n**2 * lives / (lives - 1)
        effective = p * (1 - p) / variance
    usable = np.isfinite(effective) & (lives > 1)
    return np.asarray(np.where(usable, np.minimum(effective, n), n))
