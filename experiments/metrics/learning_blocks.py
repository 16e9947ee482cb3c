"""Metrics of learning blocks that are each followed by an evaluation of all tasks, as the L2M programme reports them.

R[k, j] is the score on task j in evaluation k; trained[k, j] is true where task j was trained between evaluation k - 1
and k, so the row of an evaluation before all training has no true entry.

Source: New et al. 2022, "Lifelong learning metrics", arXiv 2201.08278; the package `l2metrics` is its code.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["backward_contrast", "forward_contrast", "performance_maintenance"]

Matrix = NDArray[np.float64]


def performance_maintenance(R: Matrix, trained: NDArray[Any]) -> NDArray[np.float64]:
    """Return [T] how a task's score has changed since the evaluation that followed its training; 0 is no forgetting.

        PM_j = mean over k of R[k, j] - R[e(k), j]

    with e(k) the last evaluation before k that directly followed training of j. Evaluations that directly follow
    training of j are references and no terms; NaN without a term.

    Args:
        R: [K, T].
        trained: [K, T] bool.

    Source: New et al. 2022, arXiv 2201.08278 (performance maintenance, "most recent learning evaluation performance").
    """
    trained = _checked(R, trained)
    order = np.arange(len(R))[:, None]
    reference = np.maximum.accumulate(np.where(trained, order, -1), 0)
    since = R - np.take_along_axis(R, np.maximum(reference, 0), 0)
    counts = (reference >= 0) & ~trained & ~np.isnan(since)
    return _mean(np.where(counts, since, 0.0).sum(0), counts.sum(0))


def forward_contrast(R: Matrix, trained: NDArray[Any]) -> Matrix:
    """Return [T, T] how training of task i changes the score on a task j that was not trained yet.

        FT[i, j] = (R[k, j] - R[k - 1, j]) / (R[k, j] + R[k - 1, j])

    with k the first block of i that evaluations enclose, before j was ever trained. NaN where there is none.
    The contrast lies in [-1, 1] for scores of one sign and is noise where they are near 0.

    Args:
        R: [K, T].
        trained: [K, T] bool.

    Source: New et al. 2022, arXiv 2201.08278 (forward transfer, contrast).
    """
    trained = _checked(R, trained)
    return _contrast(R, trained, ~np.maximum.accumulate(trained, 0))


def backward_contrast(R: Matrix, trained: NDArray[Any]) -> Matrix:
    """Return [T, T] how training of task i changes the score on a task j that was trained before.

        BT[i, j] = (R[k, j] - R[k - 1, j]) / (R[k, j] + R[k - 1, j])

    with k the first block of i that evaluations enclose, after j was first trained. NaN where there is none.

    Args:
        R: [K, T].
        trained: [K, T] bool.

    Source: New et al. 2022, arXiv 2201.08278 (backward transfer, contrast).
    """
    trained = _checked(R, trained)
    earlier = np.zeros_like(trained)
    earlier[1:] = np.maximum.accumulate(trained, 0)[:-1]
    return _contrast(R, trained, earlier)


def _contrast(R: Matrix, trained: NDArray[np.bool_], allowed: NDArray[np.bool_]) -> Matrix:
    """Return [T, T] the first contrast of each pair, over the blocks in which j is allowed."""
    tasks = R.shape[1]
    found = np.full((tasks, tasks), np.nan)
    for k in range(len(R) - 1, 0, -1):  # the first one is written last
        total = R[k] + R[k - 1]
        known = allowed[k] & (total != 0) & ~np.isnan(total)
        contrast = (R[k] - R[k - 1]) / np.where(known, total, 1.0)
        for i in np.flatnonzero(trained[k]):
            other = known & (np.arange(tasks) != i)
            found[i, other] = contrast[other]
    return found


def _mean(total: Matrix, count: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _checked(R: Matrix, trained: NDArray[Any]) -> NDArray[np.bool_]:
    trained = np.asarray(trained, np.bool_)
    if R.ndim != 2 or trained.shape != R.shape:
        raise ValueError(f"trained must have the shape of the matrix: {list(trained.shape)}, {list(R.shape)}")
    return trained
