"""Win-stay minus lose-shift: a diagnostic of how a policy reacts to what its last try paid.

It is 0 for habits and constant answers, and no measure of retention: stochastic rewards, goals of different difficulty
and episodes that time out all move it. `index.py` has the measure.
"""

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.rows import Rows, lag_bins, previous_meeting

__all__ = ["stay_shift"]

Floats = NDArray[np.float64]


def stay_shift(rows: Rows, *, minimum: int = 30) -> Floats:
    """Return by lag bin P(same answer | rewarded last time) - P(same answer | not rewarded last time).

    Args:
        rows: `life`, `episode`, `task`, `lag_episodes`, `answer`, `success` (rewarded or not), and `mode` if there are
            several. A row counts if its task's last meeting is in the table too.
        minimum: rows of either group (rewarded, not rewarded last time) below which a bin is NaN.

    Returns:
        [bins] one value for each bin of lags 2^k to 2^(k+1) - 1.
    """
    before = previous_meeting(rows)
    success, answer = rows["success"], rows["answer"]
    now = np.flatnonzero((before >= 0) & ~np.isnan(success) & ~np.isnan(success[before]) & (answer >= 0))
    won, stayed = success[before[now]] > 0.5, answer[now] == answer[before[now]]
    bins = lag_bins(rows["lag_episodes"][now])
    width = int(bins.max()) + 1 if bins.size else 0

    def share(chosen: NDArray[np.bool_]) -> Floats:
        count = np.bincount(bins[chosen], minlength=width).astype(np.float64)
        count[count < max(minimum, 1)] = np.nan
        return np.bincount(bins[chosen], weights=stayed[chosen], minlength=width) / count

    return share(won) - share(~won)
