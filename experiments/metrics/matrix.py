"""Performance matrix of tasks evaluated while an agent lives, and the published quantities that are read from it.

R[k, j] is the score on task j after training block k: row = time, column = task (GEM's convention), NaN if not
evaluated. Each function is one quantity under its published name, for T tasks learnt one after another, task j in block
`blocks[j]` (by default in block j).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.gain import scores
from lifelong.experiments.metrics.rows import Rows

__all__ = [
    "average_performance",
    "backward_transfer",
    "final_average",
    "forgetting",
    "forgetting_of_end",
    "forward_transfer",
    "intransigence",
    "isolated_forgetting",
    "performance_matrix",
    "transfer_at_boundaries",
    "zero_shot_transfer",
]

Matrix = NDArray[np.float64]


def performance_matrix(rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64], Matrix]:
    """Return the steps of training [K] at which tasks were evaluated, the tasks [T] and the mean scores R [K, T].

    Args:
        rows: `train_step`, `task`, `return`, `normalised`, `success` of evaluations; rows of training do not count.
    """
    names = ("train_step", "task", "return", "normalised", "success")
    evaluated = {name: rows[name][rows["train_step"] >= 0] for name in names}
    score, _ = scores(evaluated)
    steps, k = np.unique(evaluated["train_step"], return_inverse=True)
    tasks, j = np.unique(evaluated["task"], return_inverse=True)
    cell, shape = k * tasks.size + j, (steps.size, tasks.size)
    count, total = (np.bincount(cell, w, minlength=steps.size * tasks.size) for w in (None, score))
    with np.errstate(invalid="ignore"):
        return steps, tasks, (total / count).reshape(shape)


def final_average(R: Matrix) -> float:
    """Return A = 1/T Σ_j R[K, j], the mean score of all tasks at the end.

    Source: Lopez-Paz and Ranzato 2017, "Gradient episodic memory", arXiv 1706.08840 (ACC).
    """
    return float(R[-1].mean())


def average_performance(R: Matrix) -> float:
    """Return 2 / (T (T + 1)) Σ_{k ≥ j} R[k, j], the mean of the lower triangle, true zeros included.

    Source: Díaz-Rodríguez et al. 2018, "Don't forget, there is more than forgetting", arXiv 1810.13166 (A).
    """
    _square(R, "average_performance")
    return float(R[np.tril_indices(len(R))].mean())


def backward_transfer(R: Matrix, blocks: NDArray[Any] | None = None) -> float:
    """Return BWT = 1/(T - 1) Σ_{j < T} (R[T, j] - R[j, j]); negative is forgetting.

    Args:
        R: [T, T], or [K, T] with `blocks`.
        blocks: [T] block in which each task was learnt last; a task of the last block does not count. NaN if none does.

    Source: Lopez-Paz and Ranzato 2017, arXiv 1706.08840.
    """
    if blocks is None:
        _square(R, "backward_transfer")
        blocks = np.arange(len(R))
    since = R[-1] - R[blocks, np.arange(R.shape[1])]
    return _mean(since[np.asarray(blocks) < len(R) - 1])


def forward_transfer(R: Matrix, start: NDArray[Any], blocks: NDArray[Any] | None = None) -> float:
    """Return FWT = 1/(T - 1) Σ_{j > 1} (R[j - 1, j] - b_j), the score on a task just before it is learnt, over b.

    Args:
        R: [T, T], or [K, T] with `blocks`.
        start: [T] b, the scores of the agent before all training.
        blocks: [T] block in which each task was learnt first; a task of the first block does not count. NaN if none
            does.

    Source: Lopez-Paz and Ranzato 2017, arXiv 1706.08840.
    """
    if blocks is None:
        _square(R, "forward_transfer")
        blocks = np.arange(len(R))
    later = np.flatnonzero(np.asarray(blocks) > 0)
    return _mean(R[np.asarray(blocks)[later] - 1, later] - np.asarray(start)[later])


def transfer_at_boundaries(
    steps: NDArray[np.int64], tasks: NDArray[np.int64], R: Matrix, learnt: Mapping[int, Sequence[int]]
) -> dict[str, float]:
    """Return `backward` and `forward` transfer of tasks that were evaluated whenever the task changed.

    Tasks that were not learnt do not count, nor those whose evaluation was left out: that after a task's last block,
    before the next is learnt, of backward transfer; that before its first, of forward transfer. Forward transfer needs
    the untrained agent's scores; what is of no task is left out.

    Args:
        steps: [K] of training; the first may be 0, the untrained agent.
        tasks: [T] numbers.
        R: [K, T].
        learnt: first and last step at which a task was learnt, by its number.
    """
    chosen = np.array([task in learnt for task in tasks.tolist()], np.bool_)
    baseline = int(steps.size > 0 and steps[0] == 0)
    blocks = steps[baseline:]
    if not blocks.size or not chosen.any():
        return {}
    first, last = np.array([learnt[task] for task in tasks[chosen].tolist()]).T
    after, start = R[baseline:, chosen], R[0, chosen]
    begins, ends = (np.searchsorted(blocks, at, side="right") for at in (first, last))
    ends = np.minimum(ends, blocks.size - 1)
    late = np.array([bool(((last > one) & (last < blocks[end])).any()) for one, end in zip(last, ends, strict=True)])
    found = {"backward": backward_transfer(after[:, ~late], ends[~late])}
    if baseline:
        before = [blocks[max(begin - 1, 0)] for begin in begins]
        early = np.array([bool(((first > e) & (first < one)).any()) for one, e in zip(first, before, strict=True)])
        early &= begins > 0
        found["forward"] = forward_transfer(after[:, ~early], start[~early], begins[~early])
    return {name: value for name, value in found.items() if not np.isnan(value)}


def forgetting(R: Matrix) -> NDArray[np.float64]:
    """Return [T - 1] f_j = max_{k < T} R[k, j] - R[T, j] of all tasks but the last, over the k that were evaluated.

    The maximum of noisy scores is too large: with few evaluation episodes use `forgetting_of_end`.

    Source: Chaudhry et al. 2018, "Riemannian walk for incremental learning", arXiv 1801.10112.
    """
    _square(R, "forgetting")
    return np.asarray(np.fmax.reduce(R[:-1, :-1]) - R[-1, :-1])


def forgetting_of_end(R: Matrix, blocks: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Return [T] F_j = R[end of j's own block, j] - R[K, j]; 0 for a task learnt last.

    Args:
        R: [K, T].
        blocks: [T] block in which each task was learnt last; None is block j.

    Source: Wolczyk et al. 2021, "Continual World", arXiv 2105.10919.
    """
    own = np.arange(R.shape[1]) if blocks is None else np.asarray(blocks)
    return np.asarray(R[own, np.arange(R.shape[1])] - R[-1])


def isolated_forgetting(R: Matrix, start: NDArray[Any]) -> Matrix:
    """Return [K, T] what each block took from each task: R[k - 1, j] - R[k, j], with `start` before the first block.

    It tells who damages whom; a negative entry is learning.

    Args:
        R: [K, T].
        start: [T] scores before all training.

    Source: Powers et al. 2021, "CORA", arXiv 2110.10067 (F, there divided by the observed maximum).
    """
    return -np.diff(R, axis=0, prepend=np.asarray(start, np.float64)[None])


def zero_shot_transfer(R: Matrix, start: NDArray[Any]) -> Matrix:
    """Return [T, T] Z[k, j] = R[k, j] - R[k - 1, j] for tasks j that block k precedes, NaN elsewhere.

    Args:
        R: [T, T].
        start: [T] scores before all training.

    Source: Powers et al. 2021, "CORA", arXiv 2110.10067.
    """
    _square(R, "zero_shot_transfer")
    gained = -isolated_forgetting(R, start)
    return np.where(np.triu(np.ones(R.shape), 1) > 0, gained, np.nan)


def intransigence(R: Matrix, alone: NDArray[Any]) -> NDArray[np.float64]:
    """Return [T] I_j = R*_j - R[j, j]: what an agent that learns task j alone has over this one after its block.

    Args:
        R: [T, T].
        alone: [T] R*, scores of the single-task references with the same budget.

    Source: Chaudhry et al. 2018, arXiv 1801.10112 (there against joint training).
    """
    _square(R, "intransigence")
    return np.asarray(np.asarray(alone) - np.diag(R))


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _square(R: Matrix, name: str) -> None:
    if R.ndim != 2 or R.shape[0] != R.shape[1]:
        raise ValueError(f"{name} needs one row per task, learnt in order; the matrix is {R.shape}")
    if R.shape[0] < 2:
        raise ValueError(f"{name} needs at least two tasks, the matrix has {R.shape[0]}")
