"""Once: a schedule in which every task is introduced late in the life of others and then never rehearsed."""

from dataclasses import dataclass

import numpy as np

from lifelong.envs.schedules import Draw, History, Ints, check_positive

__all__ = ["GROUP", "Once"]

GROUP = 4
"""Tasks that are met in turn until each has its meetings."""


@dataclass(frozen=True, slots=True)
class Once:
    """Every task is met once, in an order drawn for each life, and not again while there are new ones.

    With `meetings` above 1 tasks are introduced in groups of four, met in turn: A B C D A B C D, then E F G H E F G H.
    After the last new task the second half of the tasks goes on as distractors, the one unseen for longest first; the
    first half is never met again, so its lags grow with the life.

    Args:
        meetings: of each task.
    """

    meetings: int = 1

    def __post_init__(self) -> None:
        """Validate the meetings."""
        check_positive("meetings", self.meetings)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        met, meetings = history.met, history.meetings
        new, begun = meetings == 0, (meetings > 0) & (meetings < self.meetings)
        unfinished = begun.any(1)
        opening = history.episode % (GROUP * self.meetings) < GROUP  # of a group
        introduce = new.any(1) & (opening | ~unfinished)
        place = (draw(0) * new.sum(1)).astype(np.int64)  # among the new ones
        introduced = (new.cumsum(1) > place[:, None]).argmax(1)
        distractors = np.arange(met.shape[1]) >= met.shape[1] // 2
        turn = np.where(np.expand_dims(unfinished, 1), begun, distractors)
        oldest = np.where(turn, met, np.iinfo(np.int64).max).argmin(1)
        coming: Ints = np.where(introduce, introduced, oldest)
        return coming
