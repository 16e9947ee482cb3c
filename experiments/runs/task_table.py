"""Table of tasks: scores at the first meeting, at the end of visits, and on return by lag."""

import math
from collections.abc import Sequence
from textwrap import wrap

from rich.console import Console

from lifelong.experiments.metrics.gain import TaskGain
from lifelong.experiments.metrics.rows import bin_label
from lifelong.experiments.runs.stacked_table import Column, stacked_tables

__all__ = ["heading_of", "show_tasks"]

_MOST_TASKS = 12  # that are shown
_WORDS = "lag: episodes since the task was last met · forgetting: end of visits less mean on return"


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
        "first meeting": tuple(_cell(gain.first) for gain in shown),
        "end of visits": tuple(_cell(gain.last) for gain in shown),
    }
    for k in range(max((len(gain.count) for gain in gains), default=0)):
        if any(gain.count[k] for gain in gains if k < len(gain.count)):
            returned = tuple(_cell(gain.returned[k]) if k < len(gain.returned) else "-" for gain in shown)
            moments[f"on return, lag {bin_label(k)}"] = returned
    moments["forgetting"] = tuple(_cell(gain.forgetting) for gain in shown)
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
    console.print(_WORDS, soft_wrap=True)


def heading_of(name: str, width: int = 14) -> str:
    """Return a name in lines that are short enough for the heading of a column."""
    return "\n".join(wrap(name, width))


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
