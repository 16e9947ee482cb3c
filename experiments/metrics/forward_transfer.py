"""Forward transfer against a single-task reference: how much sooner a task is learnt after others than alone.

    FT_i = (AUC_i - AUC_i^ref) / (1 - AUC_i^ref)

with AUC_i the mean over time of the success p_i(t) while task i is trained for the first time, and AUC_i^ref the same
of a run that trains nothing else (`lifelong train --only-task`), over as many steps from its beginning. 0 is no
transfer, 1 is a task that is solved from its first step on; there is no lower end.

Source: Wolczyk et al. 2021, "Continual World", arXiv 2105.10919. There p_i is evaluated every 20,000 steps; here it is
the success of training's own episodes, in equal stretches of steps, so that short episodes do not count more often.
"""

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.rows import Rows

__all__ = ["area_under_success", "forward_transfer_auc"]


def forward_transfer_auc(rows: Rows, reference: Rows, task: int, *, stretches: int = 20) -> float:
    """Return FT = (AUC - AUC_ref) / (1 - AUC_ref) of one task; NaN where the reference succeeds always.

    Of several seeds, join the runs (`join_runs`): the ratio is of the means over seeds. Average it over tasks.

    Args:
        rows: of a run in training: `step`, `life`, `task`, `visit`, `success`, and `normalised` where success is not
            known.
        reference: the same of the run that trained this task only, with as many lives.
        task: its number.
        stretches: equal parts of the steps, in each of which success is a mean over episodes.

    Raises:
        ValueError: if a run has no rows of the task, the reference is shorter than the task's block, or its rows are of
            other tasks too; or if neither success nor reference scores are known.
    """
    if others := sorted({*reference["task"].tolist()} - {task}):
        raise ValueError(f"the reference must have trained task {task} only, it has rows of tasks {others}")
    start, end = _block(rows, task)
    _, alone = _block(reference, task)
    if alone < (end - start) * (1 - 1 / stretches):  # the last episodes end somewhere in the last stretch
        raise ValueError(f"the reference must be as long as the task's block: {alone} steps, the block {end - start}")
    run = area_under_success(rows, task, start, end, stretches)
    single = area_under_success(reference, task, 0, end - start, stretches)
    return (run - single) / (1 - single) if single < 1 else float("nan")


def area_under_success(rows: Rows, task: int, start: int, end: int, stretches: int = 20) -> float:
    """Return the mean over steps of a task's success.

        AUC = 1/n Σ_k p_k,    p_k the mean success of the episodes that end in the k-th of n stretches

    Stretches in which no episode ends lie on the line between their neighbours.

    Args:
        rows: `step`, `task`, `success`, and `normalised` where success is not known.
        task: its number.
        start: of the steps that count.
        end: of these.
        stretches: n.

    Raises:
        ValueError: if no episode of the task ends there, or neither its success nor its normalised score is known.
    """
    step = rows["step"]
    mine = (rows["task"] == task) & (step > start) & (step <= end)
    if not mine.any():
        raise ValueError(f"there are no rows of task {task} in steps {start} to {end}")
    score = _score(rows, mine)
    stretch = np.minimum((step[mine] - start - 1) * stretches // (end - start), stretches - 1)
    count = np.bincount(stretch, minlength=stretches)
    known = np.flatnonzero(count)
    mean = np.bincount(stretch, weights=score, minlength=stretches)[known] / count[known]
    return float(np.interp(np.arange(stretches), known, mean).mean())


def _score(rows: Rows, mine: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return success, or else the normalised score: what is 1 at best."""
    for name in ("success", "normalised"):
        if not np.isnan(rows[name][mine]).any():
            return rows[name][mine].astype(np.float64)
    raise ValueError("forward transfer needs a success of every episode, or reference scores of the task")


def _block(rows: Rows, task: int) -> tuple[int, int]:
    """Return the steps between which a task is trained for the first time: from the last episode before it.

    Visits are counted in each life: first visits of lives that begin after one has left the task are later ones.
    """
    step, life, its = rows["step"], rows["life"], rows["task"] == task
    first = its & (rows["visit"] == 0)
    if not first.any():
        raise ValueError(f"there are no rows of a first visit to task {task}")
    begun = step[first].min()
    lives, of = np.unique(life, return_inverse=True)
    born, entered = (np.full(lives.size, np.iinfo(np.int64).max) for _ in range(2))
    np.minimum.at(born, of, step)
    np.minimum.at(entered, of[first], step[first])
    left = step[~its & (step > entered[of])]
    if left.size:
        first &= born[of] <= left.min()
    before = step[~its & (step < begun)]
    return int(before.max()) if before.size else 0, int(step[first].max())
