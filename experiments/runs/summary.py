"""Summarise episode rows: retention by the measure that the stream declares, memory index, scores."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lifelong.envs import TaskStream
from lifelong.experiments.metrics.curve import RetentionCurve, number_text
from lifelong.experiments.metrics.gain import TaskGain, gain_curve, moments, scores, task_gains
from lifelong.experiments.metrics.index import index_curve, memory_index, memory_index_interval
from lifelong.experiments.metrics.recall import recall_curve
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.task_table import show_tasks

__all__ = [
    "MEASURES",
    "Summary",
    "chance_of",
    "first_exposure",
    "recent_scalars",
    "retention_of",
    "show_summary",
    "summarise",
    "task_scalars",
]

_MOST_UNMET = 6  # tasks that are named
_MOST_CURVES = 32  # tasks with scalars of their own
_ENDS = ("random", "oracle")
MEASURES = {
    "recall": "P(correct) of tasks met before, 0 at chance and 1 at always right",
    "index": "memory index: 0 is the best policy that forgets at every episode's end, 1 the best that does not",
    "gain": "score on return: 0 is that of the first meeting, 1 that of the end of visits; above 1 it was better "
    "on return than when it was left",
}
"""What retention is by each measure, and what 0 and 1 are."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Measures of some rows.

    Args:
        episodes: number of rows.
        mean_return: mean return of the episodes.
        known: P(success) where the task was met before in this life; NaN if the tasks do not tell.
        index: memory index m of all episodes, exploration included; NaN without references, and in a control, where a
            memory has nothing to gain.
        index_low: lower end of its 95 % interval.
        index_high: upper end.
        curve: retention by lag, rehearsed; without a value in any bin it has the reason.
        first: the same at one earlier meeting (`gain`: at the first return), the first exposure.
        chance: mean return of the random policy, the mean over tasks; NaN if unknown.
        best: mean return of the best policy, likewise.
        tasks: first meeting, end of visits and return of each task; empty if there is one.
        scale: what the scores of `tasks` are.
        unmet: names of tasks of which there is no episode; only listed where visits count.
        actions: how the agent acted.
        greedy_return: mean return of greedy actions in the same lives, beside drawn ones; NaN if there are none.
    """

    episodes: int
    mean_return: float
    known: float
    index: float
    index_low: float
    index_high: float
    curve: RetentionCurve
    first: RetentionCurve
    chance: float = math.nan
    best: float = math.nan
    tasks: tuple[TaskGain, ...] = ()
    scale: str = ""
    unmet: tuple[str, ...] = ()
    actions: Actions = "drawn"
    greedy_return: float = math.nan


def chance_of(env: TaskStream) -> float:
    """Return the random policy's mean return in the first task that knows it, as tasks with drifts do not; else NaN."""
    known = (task.references.random for task in env.tasks)
    return next((random for random in known if not math.isnan(random)), math.nan)


def retention_of(
    rows: Rows, env: TaskStream, *, where: NDArray[np.bool_] | None = None, exact: bool = False
) -> RetentionCurve:
    """Return retention by lag, by the measure that the stream declares.

    Args:
        rows: columns of `lifelong.envs.stream.ROW`.
        env: the stream they are of.
        where: [rows] the rows whose retention counts; None is all.
        exact: whether each lag is told apart, in place of bins; not with the measure `gain`.
    """
    if env.retention is None:
        return RetentionCurve("gain", (), (), (), (), (), reason="one task: there is nothing to come back to")
    if not rows or not rows["return"].size:
        return RetentionCurve(env.retention, (), (), (), (), (), reason="no episode has ended")
    references = [task.references for task in env.tasks]
    if env.retention == "recall":
        return recall_curve(rows, chance_of(env), where=where, exact=exact)
    if env.retention == "index":
        random, oracle = min(r.random for r in references), max(r.oracle for r in references)
        return index_curve(rows, random=random, oracle=oracle, where=where, exact=exact)
    return gain_curve(rows, [task.name for task in env.tasks], where=where)


def summarise(rows: Rows, env: TaskStream, actions: Actions = "drawn") -> Summary:
    """Measure rows of a stream.

    Args:
        rows: columns of `lifelong.envs.stream.ROW`.
        env: the stream they are of.
        actions: how the agent acted.
    """
    curve = retention_of(rows, env)
    chance, best = (float(np.mean([getattr(task.references, name) for task in env.tasks])) for name in _ENDS)
    if not rows or not rows["return"].size:
        nothing = math.nan
        return Summary(0, nothing, nothing, nothing, nothing, nothing, curve, curve, chance, best, actions=actions)
    low, high = memory_index_interval(rows) if _remembering_pays(env) else (math.nan, math.nan)
    several = env.retention == "gain"
    return Summary(
        episodes=rows["return"].size,
        mean_return=float(rows["return"].mean()),
        known=_known(rows),
        index=_index(rows, env),
        index_low=low,
        index_high=high,
        curve=curve,
        first=retention_of(rows, env, where=first_exposure(rows, env)),
        chance=chance,
        best=best,
        tasks=tuple(task_gains(rows, [task.name for task in env.tasks])) if several else (),
        scale=scores(rows)[1] if several else "",
        unmet=tuple(task.name for k, task in enumerate(env.tasks) if several and k not in rows["task"]),
        actions=actions,
    )


def first_exposure(rows: Rows, env: TaskStream) -> NDArray[np.bool_]:
    """Return [rows] which are of tasks met once before, or, where visits are what counts, visited once before."""
    return np.asarray(rows["visit" if env.retention == "gain" else "meetings"] == 1)


def recent_scalars(rows: Rows, env: TaskStream) -> dict[str, float]:
    """Return scalars of recent rows by TensorBoard tag: mean return, what is known, memory index.

    Args:
        rows: columns of `lifelong.envs.stream.ROW`, at least one row.
        env: the stream they are of.
    """
    return {
        "charts/episodic_return": float(rows["return"].mean()),
        "retention/known": _known(rows),
        "retention/memory_index": _index(rows, env),
    }


def task_scalars(rows: Rows, env: TaskStream) -> dict[str, float]:
    """Return scalars of recent rows by TensorBoard tag: which task is on, and of each task return and success.

    Where a visit ended or a task was come back to, also the return before leaving and after coming back.

    Args:
        rows: columns of `lifelong.envs.stream.ROW`.
        env: the stream they are of.
    """
    task, returns, success = (rows[name] for name in ("task", "return", "success"))
    _, last, returned = moments(rows)
    scalars = {"tasks/current": float(np.bincount(env.task).argmax())}
    for number in np.unique(task)[:_MOST_CURVES]:
        mine, name = task == number, env.tasks[number].name.replace("/", "-")
        scalars[f"tasks/{name}/return"] = float(returns[mine].mean())
        scalars[f"tasks/{name}/success"] = float(success[mine].mean())
        for tag, chosen in (("return_before_leaving", mine & last), ("return_after_coming_back", mine & returned)):
            if chosen.any():
                scalars[f"tasks/{name}/{tag}"] = float(returns[chosen].mean())
    return scalars


def _known(rows: Rows) -> float:
    """Return P(success) where the task was met before in this life; NaN if the tasks do not tell."""
    success = rows["success"]
    told = (rows["lag_episodes"] >= 1) & ~np.isnan(success)
    return float(success[told].mean()) if told.any() else math.nan


def _index(rows: Rows, env: TaskStream) -> float:
    """Return the memory index of the rows; NaN where a memory has nothing to gain."""
    return memory_index(rows) if _remembering_pays(env) else math.nan


def _remembering_pays(env: TaskStream) -> bool:
    """Return whether in some task a memory gains more than a twentieth of the way from chance to the oracle.

    What is not known, since only rows tell, may.
    """
    known = [task.references for task in env.tasks]
    return any(not (scores.cross - scores.within <= 0.05 * (scores.oracle - scores.random)) for scores in known)


def show_summary(summary: Summary, title: str, console: Console) -> None:
    """Print a summary as tables.

    Args:
        summary: to show.
        title: above it.
        console: where.
    """
    if summary.tasks:
        show_tasks(f"{title}: {summary.scale} by task", summary.tasks, console)
    if unmet := summary.unmet:
        more = f" and {len(unmet) - _MOST_UNMET} more" if len(unmet) > _MOST_UNMET else ""
        said = f"these lives were too short to meet {', '.join(unmet[:_MOST_UNMET])}{more}"
        console.print(said, soft_wrap=True, markup=False, highlight=False)
    curve = summary.curve
    if curve.measured:
        table = Table(title=f"{title}: retention", title_justify="left", caption=MEASURES.get(curve.measure, ""))
        table.caption_justify = "left"
        heading, *lines = curve.table()
        for name in heading:
            table.add_column(name, justify="right")
        for line in lines:
            table.add_row(*line)
        console.print(table)
        words = [] if summary.tasks else ["lag: episodes since the task was last met"]  # else it is above already
        console.print(" · ".join([*words, "area: mean retention over the lags named"]), soft_wrap=True)
    elif curve.reason:
        console.print(f"no retention curve: {curve.reason}", soft_wrap=True, markup=False, highlight=False)
    if summary.first.measured and summary.first.rho != curve.rho:
        first = summary.first
        measured = [k for k, count in enumerate(first.count) if count]
        points = " · ".join(f"{first.bins[k]} {number_text(first.rho[k])}" for k in measured)
        console.print(f"at first exposure, by lag: {points}; half-life {first.half_life_label}", soft_wrap=True)
    greedy = "" if math.isnan(summary.greedy_return) else f", greedy {summary.greedy_return:.3f}"
    numbers = [f"{summary.episodes:,} episodes", f"mean return {summary.actions} {summary.mean_return:.3f}{greedy}"]
    numbers += [f"{name} {value:.3g}" for name, value in (("chance", summary.chance), ("best", summary.best))
                if not math.isnan(value)]  # fmt: skip
    if not math.isnan(summary.known):
        numbers.append(f"known {summary.known:.3f} (success where the task was met before)")
    if not math.isnan(summary.index):
        numbers.append(f"memory index {summary.index:.3f} ({summary.index_low:.3f} to {summary.index_high:.3f})")
    console.print(f"{title}: " + " · ".join(numbers), soft_wrap=True)
    if not math.isnan(summary.index) and not (curve.measured and curve.measure == "index"):  # else it is said above
        console.print(MEASURES["index"], soft_wrap=True)
