"""What rows say of an agent: its retention curve, where one can be had, its memory index, and its scores."""

from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from lifelong.envs import TaskStream
from lifelong.experiments.metrics.retention import (
    RetentionCurve,
    Rows,
    memory_index,
    memory_index_interval,
    recall_curve,
    stay_shift_curve,
)

__all__ = ["Summary", "show_summary", "summarise"]


@dataclass(frozen=True, slots=True)
class Summary:
    """Measures of some rows.

    Args:
        episodes: how many rows.
        mean_return: of the episodes.
        known: P(success) where the task was met before in this life; NaN if the tasks do not tell.
        index: memory index m of all episodes, exploration included; NaN without references, and in a control, where a
            memory has nothing to gain.
        index_low: lower end of its 95 % interval.
        index_high: upper end.
        curve: retention by lag; None if the stream has neither successes nor answers.
    """

    episodes: int
    mean_return: float
    known: float
    index: float
    index_low: float
    index_high: float
    curve: RetentionCurve | None


def summarise(rows: Rows, env: TaskStream, resamples: int = 1000) -> Summary:
    """Measure rows of a stream.

    Retention is recall where the stream reveals answers, win-stay minus lose-stay where only the reward tells.

    Args:
        rows: columns of `lifelong.envs.stream.ROW`.
        env: the stream they are of.
        resamples: of the bootstrap; 0 for no intervals.
    """
    if not rows or not rows["return"].size:
        nothing = float("nan")
        return Summary(0, nothing, nothing, nothing, nothing, nothing, None)
    success, met = rows["success"], rows["lag_episodes"] >= 1
    told = met & ~np.isnan(success)
    curve = None
    if told.any():
        if getattr(env, "feedback", None) == "reveal":
            curve = recall_curve(rows, float(env.tasks[0].references.random), resamples=resamples)
        elif (rows["answer"] >= 0).any():
            curve = stay_shift_curve(rows, resamples=resamples)
    index = low = high = float("nan")
    if _remembering_pays(env):
        index = memory_index(rows)
        low, high = memory_index_interval(rows, resamples=resamples) if resamples else (low, high)
    return Summary(
        episodes=rows["return"].size,
        mean_return=float(rows["return"].mean()),
        known=float(success[told].mean()) if told.any() else float("nan"),
        index=index,
        index_low=low,
        index_high=high,
        curve=curve,
    )


def _remembering_pays(env: TaskStream) -> bool:
    """Return whether in some task a memory gains more than a twentieth of the way from chance to the oracle.

    What is not known, since only rows tell, may.
    """
    known = [task.references for task in env.tasks]
    return any(not (scores.cross - scores.within <= 0.05 * (scores.oracle - scores.random)) for scores in known)


def show_summary(summary: Summary, title: str, console: Console) -> None:
    """Print a summary as a table.

    Args:
        summary: to show.
        title: above it.
        console: where.
    """
    table = Table(title=title, title_justify="left")
    if summary.curve is not None:
        heading, *lines = summary.curve.table()
        for name in heading:
            table.add_column(name, justify="right")
        for line in lines:
            table.add_row(*line)
        console.print(table)
    numbers = [f"{summary.episodes:,} episodes", f"mean return {summary.mean_return:.3f}"]
    if not np.isnan(summary.known):
        numbers.append(f"P(success, task met before) {summary.known:.3f}")
    if not np.isnan(summary.index):
        numbers.append(f"memory index {summary.index:.3f} ({summary.index_low:.3f} to {summary.index_high:.3f})")
    console.print(f"{title}: " + " · ".join(numbers), soft_wrap=True)
