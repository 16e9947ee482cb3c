"""Performance matrix of a run: printed as a table, drawn as a heat map."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from lifelong.experiments.metrics.curve import number_text
from lifelong.experiments.metrics.gain import scores
from lifelong.experiments.metrics.matrix import final_average, performance_matrix
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.heat_map import heat_map
from lifelong.experiments.runs.stacked_table import Column, stacked_tables
from lifelong.experiments.runs.task_table import heading_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["matrix_scalars", "plot_matrix", "show_matrix"]

_WORDS = {
    "transfer/final_average": "final average",
    "transfer/forgetting": "forgetting",
    "transfer/backward": "backward transfer",
    "transfer/forward": "forward transfer",
}
_MOST = 16  # lines that are printed
_MOST_DRAWN = 48  # evaluations that are drawn, evenly chosen; more tasks than that have no numbers


def matrix_scalars(R: NDArray[np.float64]) -> dict[str, float]:
    """Return the published quantities that a performance matrix allows, by TensorBoard tag.

    Forgetting is of the best score that a task ever had (peak less final), since blocks may come back.

    Args:
        R: [K, T].
    """
    if not R.size:
        return {}
    found = {"transfer/final_average": final_average(R)}
    if len(R) > 1:
        found["transfer/forgetting"] = float((R.max(0) - R[-1]).mean())
    return found


def show_matrix(
    rows: Rows, names: Sequence[str], mode: str, console: Console, *, more: Mapping[str, float] | None = None
) -> None:
    """Print the matrix: a line for each evaluation, a column for each task.

    Args:
        rows: as for `performance_matrix`.
        names: of the tasks, by number.
        mode: of the evaluation.
        console: where.
        more: quantities to be printed below, by TensorBoard tag.
    """
    steps, tasks, R = performance_matrix(rows)
    if not R.size:
        return
    scale = scores(rows)[1]
    shown = [k for k in range(len(steps)) if not _MOST // 2 <= k < len(steps) - _MOST // 2]
    columns = []
    for j, task in enumerate(tasks):
        name = names[int(task)] if task < len(names) else f"task {task}"
        columns.append(Column(heading_of(name), tuple(map(number_text, R[shown, j]))))
    label = Column("after steps", tuple(f"{steps[k]:,}" for k in shown))
    title = f"performance matrix: {scale} of copies of the living agent ({mode})"
    for table in stacked_tables(title, label, columns, console.width, right=True):
        console.print(table)
    found = matrix_scalars(R) | dict(more or {})
    words = [f"{_WORDS.get(tag, tag)} {value:.3f}" for tag, value in found.items()]
    console.print(" · ".join(words), soft_wrap=True)


def plot_matrix(steps: NDArray[np.int64], names: Sequence[str], R: NDArray[np.float64], title: str) -> "Figure":
    """Draw a performance matrix as a heat map, time downwards.

    Args:
        steps: [K] steps of training.
        names: [T] of the tasks.
        R: [K, T].
        title: above it.
    """
    from matplotlib.figure import Figure

    chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _MOST_DRAWN)).round().astype(np.int64))
    steps, R = steps[chosen], R[chosen]
    size = 2.0 + min(len(names), _MOST_DRAWN), 2.4 + 0.32 * len(steps)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots()
    low, high = min(0.0, float(np.nanmin(R))), max(1.0, float(np.nanmax(R)))
    heat_map(axes, R, low, high, numbers=len(names) <= _MOST_DRAWN)
    axes.set_xticks(range(len(names)), map(heading_of, names), rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(steps)), [f"{step:,}" for step in steps])
    axes.set_xlabel("task evaluated")
    axes.set_ylabel("steps of training")
    axes.set_title("\n".join(wrap(title, 12 * round(size[0]))), fontsize=9, loc="left")
    return figure
