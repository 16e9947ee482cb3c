"""Memory index: the way from the best policy that forgets at every episode's end to the best that remembers its life.

    m = (J - J_within) / (J_cross - J_within)

of mean returns J. The references are expectations row by row: what the best policy of each kind gets in this very
episode, after what its life has met. Within a lag bin it is the retention of streams where only the reward tells.
"""

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.curve import RetentionCurve, retention_curve
from lifelong.experiments.metrics.proportions import effective_count, wilson_interval
from lifelong.experiments.metrics.rows import Rows

__all__ = ["index_curve", "memory_index", "memory_index_interval"]

Floats = NDArray[np.float64]

_GAP = 0.05
"""Least gain of remembering, in parts of the way from random to oracle, for which a lag bin has a value."""
_WORSE = 0.03
"""Index below 0 by which returns surely are worse than without a memory, for which there is no curve."""


def index_curve(
    rows: Rows,
    *,
    random: float,
    oracle: float,
    where: NDArray[np.bool_] | None = None,
    minimum: int = 30,
    exact: bool = False,
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
        exact: whether each lag is told apart, in place of bins.

    Returns:
        The curve; without a value, and with the reason, if the index of the rows is surely below -.03 and that of no
        bin surely above 0 (a random policy).
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
    curve = retention_curve(
        "index", life, lag, returned, within, cross, bounds=bounds, gap=gap, minimum=minimum, exact=exact
    )
    surely_worse = memory_index_interval(rows, counted)[1] < -_WORSE
    if curve.measured and surely_worse and not (np.nan_to_num(curve.low) > 0).any():
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
    J, within, cross = (float(rows[name][everything].sum(dtype=np.float64)) for name in ("return", "within", "cross"))
    return (J - within) / (cross - within) if cross != within else float("nan")


def memory_index_interval(rows: Rows, where: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """Return the 95 % interval of `memory_index`: Wilson's of the mean return, in units of the references.

    The mean return, scaled to the least and greatest returns and references, is worth as many independent 0/1 rows as
    its variance over lives says, of what rows differ from within + m (cross - within) (`effective_count`). A percentile
    bootstrap over lives, which stood here, covers .29 near 1, since it sees no variance where no row fails; this covers
    .93 to .99 of 0/1 returns in 4 lives or more.

    Args:
        rows: `life`, `return`, `within`, `cross`.
        where: [rows] the rows to count; None is all.
    """
    index = memory_index(rows, where)
    if np.isnan(index):
        return index, index
    names = ("life", "return", "within", "cross")
    life, *columns = (rows[name] if where is None else rows[name][where] for name in names)
    least, most = (float(end(columns)) for end in (np.min, np.max))
    unit = [(column.astype(np.float64) - least) / (most - least) for column in columns]
    lives, of = np.unique(life, return_inverse=True)
    sums = [np.bincount(of, column, lives.size) for column in (np.ones(of.size), *unit)]
    count, score, within, cross = (np.asarray(column, np.float64) for column in sums)
    mean, base, top = (column.mean() for column in unit)
    ends = wilson_interval(mean, effective_count(score, count, within + index * (cross - within)))
    low, high = sorted(float((end - base) / (top - base)) for end in ends)
    return low, high
