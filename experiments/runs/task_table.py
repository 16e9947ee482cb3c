"""Table of tasks: scores at the first meeting, at the end of visits, and on return by lag."""

from collections.abc import Sequence
from textwrap import wrap

from rich.console import Console

from lifelong.experiments.metrics.curve import number_text
from lifelong.experiments.metrics.gain import TaskGain
from lifelong.experiments.metrics.rows import bin_label
from lifelong.experiments.runs.stacked_table import Column, stacked_tables

__all__ = ["counted", "heading_of", "show_tasks"]

_MOST_TASKS = 12  # that are shown
_FEW = 8  # returns, below which their number is shown
_WORDS = "lag: episodes since the task was last met · forgetting: end of visits less mean on return"
"""Printed where a task was come back to."""


def show_tasks(title: str, gains: Sequence[TaskGain], console: Console) -> None:
    """Print a line for each task; where that is too wide, a column for each.

    Args:
        title: above it.
        gains: of the tasks.
        console: where.
    """
    shown, more = gains[:_MOST_TASKS], len(gains) - _MOST_TASKS
    names = tuple(gain.name for gain in shown)
    moments = {
        "episodes": tuple(f"{gain.episodes:,}" for gain in shown),
        "first meeting": tuple(number_text(gain.first) for gain in shown),
        "end of visits": tuple(number_text(gain.last) for gain in shown),
    }
    for k in range(max((len(gain.count) for gain in gains), default=0)):
        if any(gain.count[k] for gain in gains if k < len(gain.count)):
            moments[f"on return, lag {bin_label(k)}"] = tuple(
                counted(number_text(gain.returned[k]), gain.count[k]) if k < len(gain.count) else "-" for gain in shown
            )
    moments["forgetting"] = tuple(counted(number_text(gain.forgetting), sum(gain.count)) for gain in shown)
    columns = [Column(heading_of(moment, 10), cells) for moment, cells in moments.items()]
    tables = stacked_tables(title, Column("task", names), columns, console.width)
    if len(tables) > 1:
        columns = [
            Column(heading_of(name), tuple(cells)) for name, *cells in zip(names, *moments.values(), strict=True)
        ]
        tables = stacked_tables(title, Column("", tuple(moments)), columns, console.width)
    for table in tables:
        console.print(table)
    if more > 0:
        console.print(f"and {more} tasks more")
    if any(sum(gain.count) for gain in gains):
        few = any(0 < n < _FEW for gain in gains for n in gain.count)
        console.print(_WORDS + (" · in brackets: how many returns, where they are few" if few else ""), soft_wrap=True)


def counted(number: str, rows: int) -> str:
    """Return a mean with the number of its rows behind it, where they are too few to rely on."""
    return f"{number} ({rows})" if 0 < rows < _FEW else number


def heading_of(name: str, width: int = 14) -> str:
    """Return a name in lines that are short enough for the heading of a column."""
    return "\n".join(wrap(name, width))
