"""Rewriting: once a task's hidden answer has changed, is the new one given, and is the old one given up?

    P(new) = mean [answer = new answer],     P(old) = mean [answer = old answer]

against the task's meetings since the change, and against environment steps since. Only tasks that were met before the
change count: the others have no old answer in memory. Both stand at 1/A by guessing.

| agent | P(new) | P(old) |
| --- | --- | --- |
| overwrites at once | 0 at the first meeting, whose answer it cannot know, then 1 | 1, then 0 |
| never rewrites | 0 | 1 |
| mixes half and half | 1/2 | 1/2 |
| forgets at the change, and learns no more | 1/A | 1/A |

P(new) below P(right) after as many meetings with the first answer is *proactive interference*: what was learned first
is in the way. P(old) above 1/A after the new answer was shown is *perseveration*. Tasks of the same lives whose answers
did not change stand beside: what rewriting does to them is *retroactive interference*.

Source: the design, in which a cue takes a second answer, is A-B, A-C of Barnes and Underwood 1959, J. Exp. Psychol. 58,
97; proactive interference, Underwood 1957, Psychol. Rev. 64, 49; perseveration, Milner 1963, Arch. Neurol. 9, 90.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.proportions import Shares, binned_shares
from lifelong.experiments.metrics.rows import Rows, bin_edges, bin_label, lag_bins

__all__ = ["Axis", "RewriteCurve", "meetings_since", "rewrite_curve", "steps_since"]

Axis = Literal["meetings", "steps"]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RewriteCurve:
    """P(new) and P(old) since the change; entry 0 is at 0, entry k of 2^(k-1) to 2^k - 1 meetings or steps.

    Args:
        axis: what is counted.
        new: P(new answer), of tasks whose answer changed.
        old: P(old answer), of the same rows.
        unchanged: P(right answer) of tasks whose answer did not change.
        first: P(right answer) before any change, after as many meetings in all; without values by steps.
        chance: 1/A.
        reason: why there is no curve, as a sentence; empty if there is one.
    """

    axis: Axis
    new: Shares
    old: Shares
    unchanged: Shares
    first: Shares
    chance: float
    reason: str = ""

    @property
    def bins(self) -> tuple[str, ...]:
        """Labels of the bins: 0, 1, 2-3, 4-7, ..."""
        return ("0", *map(bin_label, range(len(self.new.mean) - 1)))

    @property
    def least(self) -> tuple[int, ...]:
        """Smallest number of each bin."""
        return (0, *(bin_edges(k)[0] for k in range(len(self.new.mean) - 1)))

    @property
    def crossover(self) -> int | None:
        """Smallest number from which on P(new) > P(old) in every bin, in the first of them beyond both intervals.

        None if there is none.
        """
        measured = [k for k, mean in enumerate(self.new.mean) if mean == mean]  # not NaN
        above = [self.new.mean[k] > self.old.mean[k] for k in measured]
        sure = [self.new.low[k] > self.old.high[k] for k in measured]
        return next((self.least[k] for i, k in enumerate(measured) if sure[i] and all(above[i:])), None)


def rewrite_curve(rows: Rows, axis: Axis, chance: float, *, minimum: int = 30) -> RewriteCurve:
    """Return P(new) and P(old) since the change of hidden answers, with 95 % intervals.

    Intervals are Wilson's, with the number of independent rows that lives make the rows worth (`proportions.py`).

    Args:
        rows: columns of `lifelong.envs.stream.ROW`, all episodes of their lives.
        axis: what to count since the change: meetings of the task, or environment steps of the life.
        chance: 1/A.
        minimum: rows below which a bin has no value.
    """
    since = meetings_since(rows)
    counted = (since >= 0) & (rows["meetings"] > since)  # met before the change too
    before = (rows["since_change"] < 0) & (axis == "meetings")
    since = np.where(before, rows["meetings"], since) if axis == "meetings" else steps_since(rows)
    place = np.where(since > 0, lag_bins(since) + 1, 0)
    changed = counted & (rows["old_answer"] >= 0)
    same = counted & (rows["old_answer"] < 0)
    width = int(place[counted].max()) + 1 if counted.any() else 0

    def share(chosen: NDArray[np.bool_], hit: NDArray[Any]) -> Shares:
        return binned_shares(rows["life"][chosen], place[chosen], hit[chosen], width, minimum=minimum)

    right = rows["success"] == 1
    new, old = share(changed, right), share(changed, rows["answer"] == rows["old_answer"])
    first = share(before & (place < width), right)
    return RewriteCurve(axis, new, old, share(same, right), first, chance, _why(rows, changed, new, minimum))


def meetings_since(rows: Rows) -> Ints:
    """Return [rows] earlier meetings of the task since hidden answers of its life last changed.

    It is -1 where they never did, and where the table does not have the task's first meeting since.

    Args:
        rows: `life`, `task`, `episode`, `meetings`, `lag_episodes`, `since_change`.
    """
    changed = np.flatnonzero(rows["since_change"] >= 0)
    since = np.full(rows["life"].size, -1, np.int64)
    if not changed.size:
        return since
    at = rows["episode"][changed] - rows["since_change"][changed]
    keys = np.stack([rows["life"][changed], rows["task"][changed], at])
    groups, group = np.unique(keys, axis=1, return_inverse=True)
    meetings = rows["meetings"][changed].astype(np.int64)
    least = np.full(groups.shape[1], np.iinfo(np.int64).max)
    np.minimum.at(least, group, meetings)
    lag = rows["lag_episodes"][changed]
    first = (lag < 0) | (lag > rows["since_change"][changed])
    whole = np.zeros(least.size, np.bool_)
    whole[group[first & (meetings == least[group])]] = True
    since[changed] = np.where(whole[group], meetings - least[group], -1)
    return since


def steps_since(rows: Rows) -> Ints:
    """Return [rows] environment steps of the life from the last change of its hidden answers to the episode's start.

    It is -1 where they never changed.

    Args:
        rows: `life`, `episode`, `length`, `since_change`: all episodes of a life from the change on.
    """
    order = np.lexsort((rows["episode"], rows["life"]))
    length, changed = rows["length"][order].astype(np.int64), rows["since_change"][order] >= 0
    begun = np.cumsum(length) - length
    life, at = rows["life"][order], (rows["episode"] - rows["since_change"])[order]
    fresh = np.ones(order.size, np.bool_)  # the first row since a change
    fresh[1:] = (life[1:] != life[:-1]) | (at[1:] != at[:-1]) | ~changed[:-1]
    start = begun[np.maximum.accumulate(np.where(fresh, np.arange(order.size), 0))] if order.size else begun
    since = np.empty(order.size, np.int64)
    since[order] = np.where(changed, begun - start, -1)
    return since


def _why(rows: Rows, changed: NDArray[np.bool_], new: Shares, minimum: int) -> str:
    if not (rows["since_change"] >= 0).any():
        return "no hidden answer changed while these lives were lived"
    if not changed.any():
        return "no task that was met before the change was met after it"
    most = max(new.count)
    return "" if most >= minimum else f"no bin has {minimum} rows, the fullest has {most}"
