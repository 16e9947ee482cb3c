"""Retention by recall: the right answer was shown at the last meeting; is it given now?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.curve import RetentionCurve, retention_curve
from lifelong.experiments.metrics.rows import Rows

__all__ = ["recall_curve"]


def recall_curve(
    rows: Rows, chance: float, *, where: NDArray[np.bool_] | None = None, minimum: int = 30, exact: bool = False
) -> RetentionCurve:
    """Return retention by lag of streams that reveal the answer after each episode.

        rho(lag) = (P(correct | met before) - 1/A) / (1 - 1/A)

    It is 0 for an agent without memory, whatever its habits, and 1 for one that forgets nothing. Where the answer has
    changed since the last meeting, what was shown is no longer right: such rows do not count, see `rewrite.py`.

    Args:
        rows: `life`, `lag_episodes`, `success` (1 or 0; rows with NaN do not count), and `old_answer` and
            `since_change` where hidden answers change.
        chance: 1/A, P(correct) without memory.
        where: [rows] the rows to count; None is all.
        minimum: rows below which a bin has no value.
        exact: whether each lag is told apart, in place of bins.
    """
    success: NDArray[Any] = rows["success"]
    counted = (rows["lag_episodes"] >= 1) & ~np.isnan(success)
    if "old_answer" in rows:
        counted &= (rows["old_answer"] < 0) | (rows["lag_episodes"] <= rows["since_change"])
    if where is not None:
        counted &= where
    life, lag = rows["life"][counted], rows["lag_episodes"][counted]
    return retention_curve("recall", life, lag, success[counted], chance, 1.0, minimum=minimum, exact=exact)
