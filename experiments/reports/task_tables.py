"""Tables of task sequences in a report: each task's scores by visit, and the performance matrix by task."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lifelong.experiments.metrics.curve import number_text
from lifelong.experiments.metrics.gain import TaskGain
from lifelong.experiments.metrics.rows import bin_label
from lifelong.experiments.reports.document import Table
from lifelong.experiments.reports.groups import Part
from lifelong.experiments.reports.measure import Matrix
from lifelong.experiments.reports.seeds import over_seeds
from lifelong.experiments.runs.task_table import counted

__all__ = ["matrix_table", "tasks_table"]

_MOST_TASKS = 20  # lines of an agent
_SCALES = {
    "normalised": "returns normalised to 0 for random actions and 1 for the oracle",
    "success": "share of successful episodes",
    "return": "returns as they are",
}
_MODES = {
    "probe": "probes: what a copy's memory writes is dropped after every episode",
    "empty": "empty: a copy's memory is emptied before every episode, so the slow weights act alone",
    "sandbox": "sandbox: what a copy's memory writes is there in its next episode, and dropped at the end",
}


def tasks_table(part: Part) -> Table | None:
    """Return a line for each agent and task: first meeting, end of visits, on return by lag, forgetting.

    Args:
        part: of a report.

    Returns:
        None if there is only one task.
    """
    gains = [gain for one in part.measured for gain in one.summary.tasks]
    if not gains:
        return None
    width = max(len(gain.count) for gain in gains)
    bins = [k for k in range(width) if any(gain.count[k] for gain in gains if k < len(gain.count))]
    lines = []
    for agent in part.agents:
        mine = [gain for one in agent.seeds for gain in one.summary.tasks]
        names = list(dict.fromkeys(gain.name for gain in mine))
        for name in names[:_MOST_TASKS]:
            cells = _task_cells([gain for gain in mine if gain.name == name], len(agent.seeds), bins)
            lines.append((agent.name, name, *cells))
        if len(names) > _MOST_TASKS:
            lines.append((agent.name, f"and {len(names) - _MOST_TASKS} more", *[""] * (len(bins) + 5)))
    scale = next(one.summary.scale for one in part.measured if one.summary.tasks)
    returned = tuple(f"on return, lag {bin_label(k)}" for k in bins)
    heading = ("agent", "task", "episodes", "first meeting", "end of visits", *returned, "forgetting", "each seed")
    caption = (
        f"Scores by task: {_SCALES[scale]}, means over seeds. First meeting: the first episode of a life in the task; "
        "end of visits: the last episode before another task; on return: the first episode of later visits. Forgetting "
        "is the end of visits less all returns. In brackets: the number of returns, where they are few."
    )
    return Table(heading, tuple(lines), caption, text_columns=2)


def matrix_table(matrices: Mapping[str, Sequence[Matrix]]) -> Table:
    """Return a line for each agent and task: best and final score of copies of the living agent, forgetting.

    Args:
        matrices: by name of the agent, one for each seed.
    """
    lines = []
    for agent, found in matrices.items():
        for task in list(dict.fromkeys(task for one in found for task in one.tasks))[:_MOST_TASKS]:
            scores = [one.R[:, one.tasks.index(task)] for one in found if task in one.tasks]
            best, final = (over_seeds([float(of(column)) for column in scores]) for of in (np.nanmax, _last))
            lost = over_seeds([float(np.nanmax(column) - column[-1]) for column in scores])
            lines.append(
                (agent, task, number_text(best.mean), number_text(final.mean), number_text(lost.mean), lost.listed())
            )
        finals = over_seeds([float(one.R[-1].mean()) for one in found], _most(found))
        lost = over_seeds([float((np.nanmax(one.R, 0) - one.R[-1]).mean()) for one in found])
        lines.append((agent, "mean of all tasks", "", finals.label(), lost.label(), lost.listed()))
    one = next(iter(matrices.values()))[0]
    said = "; ".join(_MODES[mode] for mode in sorted({one.mode for found in matrices.values() for one in found}))
    caption = (
        f"From the performance matrix: scores ({_SCALES[one.scale]}) of copies of the living agent, best and last "
        f"evaluation, means over seeds; {said}. Forgetting is best less last; the best of noisy scores is too large. "
        "The last evaluation of all tasks is the final average (ACC) of arXiv 1706.08840."
    )
    heading = ("agent", "task", "best", "last", "forgetting", "each seed")
    return Table(heading, tuple(lines), caption, text_columns=2)


def _task_cells(gains: Sequence[TaskGain], seeds: int, bins: Iterable[int]) -> list[str]:
    """Return what is said of one task of an agent: means over its seeds, `-` if one has no value."""
    missing = [math.nan] * (seeds - len(gains))

    def mean(points: Sequence[float]) -> str:
        return number_text(over_seeds([*points, *missing]).mean)

    returned = [
        counted(
            mean([gain.returned[k] if k < len(gain.returned) else math.nan for gain in gains]),
            sum(gain.count[k] for gain in gains if k < len(gain.count)),
        )
        for k in bins
    ]
    lost = over_seeds([gain.forgetting for gain in gains] + missing)
    naive, proficient = mean([gain.first for gain in gains]), mean([gain.last for gain in gains])
    episodes = f"{sum(gain.episodes for gain in gains):,}"
    return [episodes, naive, proficient, *returned, number_text(lost.mean), lost.listed()]


def _most(matrices: Sequence[Matrix]) -> float:
    """Return the largest score there can be, where an interval is cut."""
    return math.inf if any(one.scale == "return" for one in matrices) else 1.0


def _last(column: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    return float(column[-1])
