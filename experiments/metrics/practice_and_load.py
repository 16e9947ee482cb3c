"""Retention by practice and by load: lag is neither of them.

*Practice* is how often a task was met before, *load* how many different tasks were met since it was met last. A cue
that comes back after a long lag was rarely met, and much has come between; a curve over lag alone mixes the three. The
headline of a memory is its curve at one earlier meeting, the first exposure; the pooled curve is rehearsed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.metrics.rows import Rows, bin_label, lag_bins

__all__ = ["PRACTICE", "Surface", "by_practice", "retention_surface"]

Measure = Callable[[NDArray[np.bool_]], RetentionCurve]
"""Return the curve of chosen rows, [rows] bool."""

PRACTICE = ("1", "2", "3-4", "5-8", "9 and more")
"""Strata of earlier meetings."""


@dataclass(frozen=True, slots=True)
class Surface:
    """Retention over load and lag.

    Args:
        load: labels of the rows: different tasks met since the last meeting, 0, 1, 2-3, 4-7, ...
        lag: labels of the columns: episodes since, 1, 2-3, ...
        rho: [loads, lags] retention, NaN where there are too few rows.
        count: [loads, lags] rows.
    """

    load: tuple[str, ...]
    lag: tuple[str, ...]
    rho: NDArray[np.float64]
    count: NDArray[np.int64]


def by_practice(rows: Rows, measure: Measure) -> dict[str, RetentionCurve]:
    """Return retention by lag for each stratum of earlier meetings that has rows.

    Args:
        rows: `meetings`.
        measure: of chosen rows.
    """
    stratum = np.searchsorted([1, 2, 4, 8], rows["meetings"])  # 1 | 2 | 3-4 | 5-8 | more
    met = rows["meetings"] >= 1
    curves = {name: met & (stratum == number) for number, name in enumerate(PRACTICE)}
    return {name: measure(chosen) for name, chosen in curves.items() if chosen.any()}


def retention_surface(rows: Rows, measure: Measure) -> Surface:
    """Return retention over load and lag.

    Args:
        rows: `load`; -1, never met, does not count.
        measure: of chosen rows.
    """
    load: NDArray[Any] = rows["load"]
    bins = np.where(load > 0, lag_bins(load) + 1, np.where(load == 0, 0, -1))
    width = int(bins.max()) + 1 if bins.size else 0
    curves = [measure(bins == number) for number in range(width)]
    lags = max((len(curve.rho) for curve in curves), default=0)
    rho, count = np.full((width, lags), np.nan), np.zeros((width, lags), np.int64)
    for number, curve in enumerate(curves):
        rho[number, : len(curve.rho)] = curve.rho
        count[number, : len(curve.count)] = curve.count
    labels = tuple("0" if number == 0 else bin_label(number - 1) for number in range(width))
    return Surface(labels, tuple(map(bin_label, range(lags))), rho, count)
