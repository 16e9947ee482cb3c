"""Tasks, their reference scores, and the row that is written for every episode."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np

__all__ = ["ROW", "Boundary", "References", "Retention", "StreamError", "Task"]

Boundary = Literal["none", "flag", "task_id"]
Retention = Literal["recall", "index", "gain"]
"""Measures of retention: right answers after the answer was shown; the memory index by lag; what visits gained."""

ROW: dict[str, type[np.generic]] = {
    "step": np.int64,  # environment steps of all lives when the episode ended
    "life": np.int64,  # number of the life
    "episode": np.int64,  # index of the episode in its life
    "task": np.int32,  # number of the task
    "visit": np.int32,  # how many times the task was visited before; a visit is a run of episodes of one task
    "index_in_visit": np.int32,  # episodes since the visit began
    "lag_steps": np.int64,  # steps of this life since the task was last met, -1 if never
    "lag_episodes": np.int64,  # episodes since then: 1 is the one before, -1 is never
    "lag_tasks": np.int32,  # visits to other tasks since then, -1 is never
    "meetings": np.int32,  # practice: finished episodes of the task earlier in this life
    "load": np.int32,  # different tasks met since the task was last met, -1 is never
    "length": np.int32,  # steps of the episode
    "return": np.float32,  # sum of rewards
    "normalised": np.float32,  # (return - random) / (oracle - random), NaN without references
    "within": np.float32,  # expected return here of the best policy without memory across episodes, or NaN
    "cross": np.float32,  # expected return here of the best policy with memory across episodes, or NaN
    "success": np.float32,  # 1, 0, or NaN if the task has none
    "answer": np.int32,  # the task's answer, or the last step's discrete action; -1 if there is none
    "old_answer": np.int32,  # what was right before the task's hidden answer changed in this life; -1: it never did
    "since_change": np.int64,  # episodes since hidden answers of this life last changed, -1 if they never did
}


class StreamError(RuntimeError):
    """An environment raised or broke its contract; the message names the environment, the task and the step.

    Args:
        message: what happened.
        report: JSON-serialisable data to reproduce it; empty if there is none.
    """

    def __init__(self, message: str, report: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report = report or {}


@dataclass(frozen=True, slots=True)
class References:
    """Reference scores of a task; NaN where unknown.

    Args:
        random: mean return of the random policy.
        within: best mean return of a policy whose memory is reset at every episode's end.
        cross: best mean return of a policy with memory across episodes.
        oracle: best mean return of a policy that knows the hidden parameters.
    """

    random: float = float("nan")
    within: float = float("nan")
    cross: float = float("nan")
    oracle: float = float("nan")


@dataclass(frozen=True, slots=True)
class Task:
    """A task: a name and its reference scores.

    Args:
        name: shown in tables.
        references: reference scores.
    """

    name: str
    references: References = References()

    def drifted(self, kind: str, changed: bool, tasks: int) -> Self:
        """Return the task in a kind of drift.

        Args:
            kind: name of the kind.
            changed: whether there is a drift: then the reference scores are unknown.
            tasks: how many tasks the stream has; with one, its name is the kind's.
        """
        name = kind if tasks == 1 else f"{self.name}, {kind}"
        return replace(self, name=name, references=References() if changed else self.references)
