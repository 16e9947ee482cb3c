"""Scores by visit, and how many episodes a visit takes: what an agent that learns on gets in each stay at a task.

    S(v) = mean over tasks of  Σ_e n_e s_e / Σ_e n_e    over the episodes e of all lives in their v-th visit to a task

n_e is an episode's length and s_e its score, so S is a mean over steps: episodes that end soon do not count more often.
Visits are counted in each life; its last may be unfinished. An agent that keeps its plasticity learns as much in a late
visit as in its first; one that retains begins higher.

After a change of task a life has recovered with the first w episodes whose mean score is at least .9 of that of the
last w before the change. Of its own first visit to a task a later one saves (N_1 - N_v) / N_1 of the episodes until
their mean is at least .9 of that of the last w of the first visit.

Source: the area under the learning curve of each task, as in Dohare et al. 2024, "Loss of plasticity in deep continual
learning", doi:10.1038/s41586-024-07711-7; recovery and savings as in `adaptation.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.adaptation import median_recovery, recovery_time, savings
from lifelong.experiments.metrics.gain import Scale, scores
from lifelong.experiments.metrics.rows import Rows

__all__ = ["VisitScores", "median_episodes_to_recover", "savings_of_last_visit", "visit_scores"]

WINDOW = 8
"""w, episodes of which a mean is taken."""
SHARE = 0.9
"""Of what was reached before, that counts as reached again."""


@dataclass(frozen=True, slots=True)
class VisitScores:
    """Scores by visit.

    Args:
        scale: of the scores: normalised, success, or return.
        visit: [V] numbers of the visits that there were, from 1.
        episodes: [V] how many.
        score: [V] S.
    """

    scale: Scale
    visit: NDArray[np.int64]
    episodes: NDArray[np.int64]
    score: NDArray[np.float64]


def visit_scores(rows: Rows) -> VisitScores:
    """Return the scores by visit of lives in training.

    Args:
        rows: `task`, `visit`, `length`, `return`, `normalised`, `success`.
    """
    score, scale = scores(rows)
    visits, v = np.unique(rows["visit"], return_inverse=True)
    tasks, j = np.unique(rows["task"], return_inverse=True)
    cell, cells = v * tasks.size + j, visits.size * tasks.size
    length = rows["length"].astype(np.float64)
    steps, gained, count = (
        np.bincount(cell, weight, minlength=cells).reshape(visits.size, tasks.size)
        for weight in (length, length * score, None)
    )
    met = count > 0
    means = np.divide(gained, steps, out=np.zeros_like(gained), where=met)
    return VisitScores(scale, visits.astype(np.int64) + 1, count.sum(1).astype(np.int64), means.sum(1) / met.sum(1))


def median_episodes_to_recover(rows: Rows) -> float:
    """Return the median over changes of task of the episodes until a life has recovered; inf if fewer than half do.

    Args:
        rows: `life`, `episode`, `task`, `return`, `normalised`, `success`, of lives in training.

    Returns:
        Kaplan-Meier's median: a visit of n episodes in which none of the n - w + 1 means is enough takes longer than
        n - w. NaN if no task changes, or no visit after a change has w episodes.
    """
    times, seen = [], []
    for _, visits in _lives(rows):
        for (_, before), (_, after) in pairwise(visits):
            if after.size >= WINDOW:
                times.append(recovery_time(after, _target(before), WINDOW))
                seen.append(after.size - WINDOW)
    return median_recovery(times, seen) if times else float("nan")


def savings_of_last_visit(rows: Rows) -> float:
    """Return what relearning saves in the last visit to a task, of medians over lives and tasks.

    Args:
        rows: as of `median_episodes_to_recover`.

    Returns:
        At most 1; negative if the last visit takes longer. NaN if no task is visited twice for w episodes or more, or
        fewer than half of the visits reach what the first ended with, or the first needs no episode.
    """
    first, last, first_seen, last_seen = [], [], [], []
    for _, visits in _lives(rows):
        of_task: dict[int, list[NDArray[np.float64]]] = {}
        for task, score in visits:
            of_task.setdefault(task, []).append(score)
        for one in of_task.values():
            if len(one) > 1 and min(one[0].size, one[-1].size) >= WINDOW:
                target = _target(one[0])
                first.append(recovery_time(one[0], target, WINDOW))
                last.append(recovery_time(one[-1], target, WINDOW))
                first_seen.append(one[0].size - WINDOW)
                last_seen.append(one[-1].size - WINDOW)
    if not first:
        return float("nan")
    before, again = median_recovery(first, first_seen), median_recovery(last, last_seen)
    return savings(before, again) if 0 < before < np.inf and again < np.inf else float("nan")


def _target(score: NDArray[np.float64]) -> float:
    """Return the score that counts as having recovered what a visit ended with."""
    ended = float(score[-WINDOW:].mean())
    return ended - (1 - SHARE) * abs(ended)


def _lives(rows: Rows) -> Iterator[tuple[int, list[tuple[int, NDArray[np.float64]]]]]:
    """Yield each life and its visits in order: the task, and the scores of the episodes."""
    score, _ = scores(rows)
    order = np.lexsort((rows["episode"], rows["life"]))
    life, task, score = rows["life"][order], rows["task"][order], score[order]
    changed = (life[1:] != life[:-1]) | (task[1:] != task[:-1])
    begins = np.flatnonzero(np.concatenate([[True], changed]))
    parts = zip(life[begins], task[begins], np.split(score, begins[1:]), strict=True)
    lived: dict[int, list[tuple[int, NDArray[np.float64]]]] = {}
    for one, of, scored in parts:
        lived.setdefault(int(one), []).append((int(of), scored))
    yield from lived.items()
