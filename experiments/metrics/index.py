"""Memory index: the way from the best policy that forgets at every episode's end to the best that remembers its life.

    m = (J - J_within) / (J_cross - J_within)

of mean returns J. The references are expectations row by row: what the best policy of each kind gets in this very
episode, after what its life has met. Within a lag bin it is the retention of streams where only the reward tells.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.bootstrap import bootstrap, percentile_interval
from lifelong.experiments.metrics.curve import RetentionCurve, retention_curve
from lifelong.experiments.metrics.rows import Rows

__all__ = ["index_curve", "memory_index", "memory_index_interval"]

Floats = NDArray[np.float64]

_GROUPS = 512  # of lives, to resample; more lives than that are added up first, which costs nothing in width
_GAP = 0.05
"""Least gain of remembering, in parts of the way from random to oracle, for which a lag bin has a value."""


def index_curve(
    rows: Rows,
    *,
    random: float,
    oracle: float,
    where: NDArray[np.bool_] | None = None,
    minimum: int = 30,
) -> RetentionCurve:
    """Return the memory index of the rows of each lag bin: 0 forgets at every episode's end, 1 forgets nothing.

        rho(lag) = Σ (return - within) / Σ (cross - within)

    Bins in which the mean of cross - within is at most a twentieth of oracle - random have no value: nothing there is
    worth remembering.

    Args:
        rows: `life`, `lag_episodes`, `return`, `within`, `cross`; rows without references do not count.
        random: mean return of the random policy.
        oracle: mean return of the policy that knows what is hidden.
        where: [rows] the rows to count; None is all.
        minimum: rows below which a bin has no value.

    Returns:
        The curve; without a value, and with the reason, if returns stay below `within` at every lag (a random policy).
    """
    names = ("life", "lag_episodes", "return", "within", "cross")
    known = ~np.isnan(rows["within"]) & ~np.isnan(rows["cross"])
    counted = (rows["lag_episodes"] >= 1) & known
    if where is not None:
        counted &= where
    if known.size and not known.any():
        reason = "the scores of the best policies with and without a memory are not known at these settings"
        return RetentionCurve("index", (), (), (), (), (), minimum=minimum, reason=reason)
    life, lag, returned, within, cross = (rows[name][counted] for name in names)
    seen = np.concatenate([returned, within, cross, [random, oracle]])
    least, most = (float(end(seen)) for end in (np.nanmin, np.nanmax))
    span = most - least if most > least else 1.0
    gap = _GAP * (oracle - random) / span if oracle > random else 0.0
    bounds = (least, least + span)
    curve = retention_curve("index", life, lag, returned, within, cross, bounds=bounds, gap=gap, minimum=minimum)
    if curve.measured and np.nanmax(curve.high) < 0:  # surely worse than without a memory, at every lag
        reason = (
            f"the mean return {returned.mean():.3f} is below {within.mean():.3f}, that of the best policy that forgets "
            "at every episode's end: the task itself is not learnt, and nothing can be said of memory"
        )
        return RetentionCurve("index", (), (), (), (), (), minimum=minimum, reason=reason)
    return curve


def memory_index(rows: Rows, where: NDArray[np.bool_] | None = None) -> float:
    """Return m = (J - J_within) / (J_cross - J_within): 0 is the best without a memory, 1 the best with one.

    Args:
        rows: `return`, `within`, `cross`.
        where: [rows] the rows to count; None is all.

    Returns:
        m of the mean returns; NaN if a reference is not known, if both are equal, or without rows.
    """
    everything = np.ones(rows["return"].shape, np.bool_) if where is None else where
    sums = [rows[name][everything].sum(dtype=np.float64) for name in ("return", "within", "cross")]
    return float(_index(np.array(sums)))


def memory_index_interval(
    rows: Rows, where: NDArray[np.bool_] | None = None, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `memory_index`, resampling the `life` of the rows."""
    draws = bootstrap(_index_sums(rows, where), _index, resamples=resamples, seed=seed)
    low, high = percentile_interval(draws)
    return float(low), float(high)


def _index_sums(rows: Rows, where: NDArray[np.bool_] | None) -> Floats:
    columns = [rows[name] if where is None else rows[name][where] for name in ("life", "return", "within", "cross")]
    lives, unit = np.unique(columns[0] % _GROUPS, return_inverse=True)
    sums: list[NDArray[Any]] = [np.bincount(unit, weights=column, minlength=lives.size) for column in columns[1:]]
    return np.stack(sums, -1)


def _index(sums: Floats) -> Floats:
    gained, gap = sums[..., 0] - sums[..., 1], sums[..., 2] - sums[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(gap != 0, gained / gap, np.nan))
