"""What a run's rows say: retention by its stream's measure, first exposure, load, tasks, and the performance matrix."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lifelong.envs import TaskStream
from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.metrics.gain import scores
from lifelong.experiments.metrics.matrix import performance_matrix
from lifelong.experiments.metrics.practice_and_load import Surface
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.reports.run import Run, RunError, read_rows
from lifelong.experiments.runs.episodes import FROZEN, Mode, read_episodes
from lifelong.experiments.runs.summary import Summary, summarise
from lifelong.experiments.runs.surface import surface_of

__all__ = [
    "CURVES",
    "EVALUATED",
    "EVALUATED_GREEDY",
    "TRAINED",
    "Curve",
    "Matrix",
    "Measured",
    "lived_endlessly",
    "measure",
    "measure_matrix",
    "reports_of",
]

EVALUATED = "frozen agents in fresh lives"
"""Part of a report: the evaluation at the end of training, by drawn actions."""
EVALUATED_GREEDY = "frozen agents in fresh lives, greedy actions"
"""Part of a report: the same where greedy actions were all that was asked for."""
TRAINED = "agents in training"
"""Part of a report: endless lives of task sequences, while the slow weights learn."""


@dataclass(frozen=True)
class Measured:
    """A run, measured on some of its rows.

    Args:
        run: whose rows.
        part: which rows: `EVALUATED`, `EVALUATED_GREEDY`, `TRAINED`, or the name of a report of `lifelong retention`.
        summary: of them.
        surface: retention over load and lag; None without rows that tell.
        notes: what is to be said of the rows.
    """

    run: Run
    part: str
    summary: Summary
    surface: Surface | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """A curve of retention by lag that measurements have.

    Args:
        name: as an adjective.
        phrase: behind "retention".
        of: a measurement -> its curve.
    """

    name: str
    phrase: str
    of: Callable[[Measured], RetentionCurve]


CURVES = (
    Curve("first exposure", "at first exposure", lambda one: one.summary.first),
    Curve("rehearsed", "rehearsed", lambda one: one.summary.curve),
)
"""The headline first: at one earlier meeting; then of all rows of tasks met before."""


@dataclass(frozen=True)
class Matrix:
    """Performance matrix of a run.

    Args:
        run: whose.
        mode: of the copies that were evaluated.
        scale: of the scores.
        steps: [K] of training at each evaluation.
        tasks: [T] names.
        R: [K, T] mean scores.
    """

    run: Run
    mode: str
    scale: str
    steps: NDArray[np.int64]
    tasks: tuple[str, ...]
    R: NDArray[np.float64]


def lived_endlessly(run: Run, env: TaskStream) -> bool:
    """Return whether a run's training itself is measured: endless lives in which several tasks come back."""
    return env.retention == "gain" and run.config.endless


def reports_of(run: Run) -> list[str]:
    """Return the names of a run's reports of `lifelong retention`."""
    folders = (path for kind in ("frozen", "probe") for path in (run.folder / "report").glob(f"{kind}-*/episodes"))
    return sorted(path.parent.name for path in folders if path.is_dir())


def measure(run: Run, part: str, env: TaskStream) -> Measured:
    """Measure a run.

    Args:
        run: to measure.
        part: see `Measured`.
        env: its stream.

    Raises:
        RunError: if its rows cannot be read, or there are none.
    """
    folder, mode, expected = _place(run, part)
    rows, notes = read_rows(folder, mode, expected)
    if rows["task"].max() >= len(env.tasks):
        raise RunError(f"its rows name task {rows['task'].max()}, its stream has {len(env.tasks)} tasks now")
    if part in (EVALUATED, EVALUATED_GREEDY):
        _check_evaluated(run, rows)
    elif part != TRAINED:
        _check_names(folder, mode, env)
    summary = summarise(rows, env, "greedy" if mode == "greedy" or "greedy" in part.split("-") else "drawn")
    if part == EVALUATED and _has_greedy(folder):
        try:
            greedy, _ = read_rows(folder, "greedy")
            summary = replace(summary, greedy_return=float(greedy["return"].mean()))
        except RunError as error:
            notes = (*notes, f"no return of greedy actions: {error}")
    if not (rows["meetings"] >= 0).any() and env.retention != "gain":
        reason = "rows of version 0.1 do not say how often a task was met before"
        nothing = RetentionCurve(summary.curve.measure, (), (), (), (), (), reason=reason)
        summary = replace(summary, first=nothing)
    return Measured(run, part, summary, surface_of(rows, env), notes)


def _check_evaluated(run: Run, rows: Rows) -> None:
    """Refuse rows of an agent that went on to learn: of a run that was given more steps, not evaluated since.

    Raises:
        RunError: with both steps.
    """
    then = int(rows["train_step"].max())
    if run.facts and then >= 0 and then != run.steps:
        raise RunError(
            f"evaluated after {then:,} of its {run.steps:,} steps: lifelong train --resume {run.folder} evaluates it"
        )


def _check_names(folder: Path, mode: Mode, env: TaskStream) -> None:
    """Refuse rows of a report whose tasks are not those of training, which it may have lived in another stream.

    Raises:
        RunError: with the first task that is another.
    """
    try:
        found = read_episodes(folder, [mode], ["task", "task_name"])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RunError(f"its rows cannot be read: {error}") from error
    numbers, first = np.unique(found["task"], return_index=True)
    for number, name in zip(numbers.tolist(), found["task_name"][first].tolist(), strict=True):
        if name not in ("", f"task {number}", env.tasks[number].name):  # the second where nobody named it
            raise RunError(
                f"its task {number} is {name!r}, that of training {env.tasks[number].name!r}: it was lived in another "
                f"stream, and its own page has its numbers ({folder})"
            )


def measure_matrix(run: Run, env: TaskStream) -> Matrix | None:
    """Return the performance matrix of a run, None if copies of it were never evaluated.

    Raises:
        RunError: if its rows cannot be read.
    """
    mode = run.config.evaluate_mode
    counted = int(run.facts.get("evaluation_rows", 0))
    if not counted and not any((run.folder / "episodes").glob(f"{mode}-*.parquet")):
        return None
    rows, _ = read_rows(run.folder, mode, counted)
    if not (rows["train_step"] >= 0).any():  # version 0.1 called frozen lives sandbox
        return None
    steps, tasks, R = performance_matrix(rows)
    names = tuple(env.tasks[task].name if task < len(env.tasks) else f"task {task}" for task in tasks)
    return Matrix(run, mode, scores(rows)[1], steps, names, R)


def _place(run: Run, part: str) -> tuple[Path, Mode, int | None]:
    if part == EVALUATED:
        return run.folder, "frozen", None
    if part == EVALUATED_GREEDY:
        return run.folder, "greedy", None
    if part == TRAINED:
        return run.folder, "train", run.facts.get("rows")
    folder = run.folder / "report" / part
    return folder, "probe" if part.startswith("probe-") else FROZEN["greedy" if _has_greedy(folder) else "drawn"], None


def _has_greedy(folder: Path) -> bool:
    """Return whether there are rows of greedy actions."""
    return any((folder / "episodes").glob(f"{FROZEN['greedy']}-*.parquet"))
