"""Scores by visit: what an agent that goes on learning gets in each stay at a task, from its first to its last.

    S(v) = mean over tasks of  Σ_e n_e s_e / Σ_e n_e    over the episodes e of all lives in their v-th visit to a task

n_e is an episode's length and s_e its score, so S is a mean over steps: episodes that end soon do not count more often.
Visits are counted in each life; its last may be unfinished. An agent that keeps its plasticity learns as much in a late
visit as in its first; one that retains begins higher.

Source: the area under the learning curve of each task, as in Dohare et al. 2024, "Loss of plasticity in deep continual
learning", doi:10.1038/s41586-024-07711-7.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.gain import Scale, scores
from lifelong.experiments.metrics.rows import Rows

__all__ = ["VisitScores", "visit_scores"]


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
