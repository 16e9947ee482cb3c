"""Measurements of one trial: compact rows, each a number of one test, from which all of a study's tables are made.

| column | meaning |
| --- | --- |
| test | name of the test |
| quantity | a curve or a number, see `formula.py` |
| first, last | lags of a curve's bin (meetings, steps or visits by other kinds of test); -1 of a number |
| count | episodes behind it |
| value | the number, NaN where there are too few episodes |
| low, high | ends of its 95 % interval over lives, of this one agent; NaN without one |

They are what the verbs themselves print, or what the rows of a training say: nothing is measured here.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.adaptation import AdaptationConfig, main as adaptation
from lifelong.experiments.interference import InterferenceConfig, main as interference
from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.metrics.interference import InterferenceCurve
from lifelong.experiments.metrics.matrix import performance_matrix, transfer_at_boundaries
from lifelong.experiments.metrics.proportions import Shares
from lifelong.experiments.metrics.rewrite import RewriteCurve
from lifelong.experiments.metrics.rows import Rows, bin_edges
from lifelong.experiments.metrics.visits import median_episodes_to_recover, savings_of_last_visit, visit_scores
from lifelong.experiments.retention import RetentionConfig, main as retention
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.episodes import FROZEN, read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.facts import run_facts
from lifelong.experiments.runs.matrix import matrix_scalars
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.summary import Summary, summarise
from lifelong.experiments.studies.formula import Measure, Term

__all__ = ["COLUMNS", "Measurements", "measure_evaluation", "measure_test", "measure_training", "measured"]

COLUMNS: dict[str, type] = {"test": str, "quantity": str, "first": int, "last": int, "count": int, "value": float,
                            "low": float, "high": float}  # fmt: skip

Row = tuple[str, int, int, int, float, float, float]
"""One measurement without the name of its test."""

Measurements = Mapping[str, Sequence[Any]]
"""Columns of `COLUMNS`, all of one length."""

_NAN = math.nan


def measure_evaluation(test: str, run: Path, *, trust: bool = False) -> dict[str, list[Any]]:
    """Return the measurements of the evaluation at the end of a training.

    Args:
        test: name that they get.
        run: directory of the run.
        trust: as of `open_run`.

    Raises:
        UserError: if the run was not evaluated.
    """
    config = open_run(run, trust).resolved()
    actions: Actions = "greedy" if config.actions == "greedy" else "drawn"
    rows = read_episodes(run, [FROZEN[actions]])
    env = make_env(config, num_envs=1)
    try:
        return _columns(test, _of_summary(summarise(rows, env, actions)))
    finally:
        env.close()


def measure_training(test: str, run: Path, *, trust: bool = False) -> dict[str, list[Any]]:
    """Return the scores of a training by visit, and what the performance matrix of its evaluations says.

    Args:
        test: name that they get.
        run: directory of the run.
        trust: as of `open_run`.
    """
    config = open_run(run, trust).resolved()
    lived, evaluated = read_episodes(run, ["train"]), read_episodes(run, [config.evaluate_mode])
    at_boundaries = config.evaluate_every in ("auto", "boundary")
    found = run_facts(run).get("learnt", {}) if at_boundaries else {}
    learnt = {int(task): steps for task, steps in found.items()}
    return _columns(test, [*_of_visits(lived), *_of_matrix(evaluated, learnt)])


def measure_test(test: str, config: RetentionConfig | AdaptationConfig | InterferenceConfig) -> dict[str, list[Any]]:
    """Run a test, as its verb does, and return its measurements.

    Args:
        test: its name.
        config: of the verb.

    Raises:
        UserError: if the run's agent cannot be tested so.
    """
    if isinstance(config, RetentionConfig):
        return _columns(test, _of_summary(retention(config)))
    if isinstance(config, InterferenceConfig):
        return _columns(test, _of_interference(interference(config), config.run))
    return _columns(test, _of_change(adaptation(config)["meetings"], config.run))


def measured(rows: Measurements, measure: Measure) -> float:
    """Return a measure of one trial; NaN if part of it is not known.

    Args:
        rows: of the trial.
        measure: of the study.
    """
    test, quantity, first, last, value = (
        np.asarray(rows[name]) for name in ("test", "quantity", "first", "last", "value")
    )

    def number(term: Term) -> float:
        mine = (test == term.test) & (quantity == term.quantity)
        if term.lags is None:
            return float(value[mine][0]) if mine.any() else _NAN
        return _area(first[mine], last[mine], value[mine], *term.lags)

    return measure.value(number)


def _area(first: NDArray[Any], last: NDArray[Any], value: NDArray[Any], least: int, most: int) -> float:
    """Return the mean of a curve over the bins, or exact lags, from `least` to `most`; NaN if one is missing."""
    inside = (first >= least) & (last <= most)
    if not inside.any():
        return _NAN
    if (last > first).any():  # bins of an octave
        wanted = [bin_edges(k)[0] for k in range(63) if bin_edges(k)[0] >= least and bin_edges(k)[1] <= most]
        wanted += [0] * (least == 0)
        if set(wanted) - set(first[inside].tolist()):
            return _NAN
    return float(value[inside].mean())


def _of_summary(summary: Summary) -> Iterator[Row]:
    count = summary.episodes
    yield "return", -1, -1, count, summary.mean_return, _NAN, _NAN
    yield "known", -1, -1, count, summary.known, _NAN, _NAN
    yield "index", -1, -1, count, summary.index, summary.index_low, summary.index_high
    yield from _of_curve("rho", summary.curve)
    yield from _of_curve("rho1", summary.first)


def _of_curve(quantity: str, curve: RetentionCurve) -> Iterator[Row]:
    edges = [(lag, lag) for lag in curve.lags] if curve.lags else [bin_edges(k) for k in range(len(curve.rho))]
    columns = zip(edges, curve.count, curve.rho, curve.low, curve.high, strict=True)
    for (first, last), count, rho, low, high in columns:
        yield quantity, first, last, count, rho, low, high


def _of_change(curve: RewriteCurve, run: Path) -> Iterator[Row]:
    if curve.reason:
        raise UserError(f"{run}: no curve of adaptation: {curve.reason}")
    edges = [(0, 0), *(bin_edges(k) for k in range(len(curve.bins) - 1))]
    for quantity in ("new", "old", "unchanged", "first"):
        shares: Shares = getattr(curve, quantity)
        columns = zip(edges, shares.count, shares.mean, shares.low, shares.high, strict=True)
        for (first, last), count, mean, low, high in columns:
            yield quantity, first, last, count, mean, low, high


def _of_interference(curve: InterferenceCurve, run: Path) -> Iterator[Row]:
    if curve.reason:
        raise UserError(f"{run}: no curve of interference: {curve.reason}")
    left = zip(curve.steps, curve.count, curve.rho, curve.low, curve.high, strict=True)
    lost = zip(curve.steps, curve.count, curve.loss, curve.loss_low, curve.loss_high, strict=True)
    for quantity, columns in (("left", left), ("loss", lost)):
        for n, count, mean, low, high in columns:
            yield quantity, n, n, count, mean, low, high


def _of_visits(rows: Rows) -> Iterator[Row]:
    found = visit_scores(rows)
    for visit, count, score in zip(found.visit, found.episodes, found.score, strict=True):
        yield "visit", int(visit), int(visit), int(count), float(score), _NAN, _NAN
    count = len(rows["life"])
    recovery = median_episodes_to_recover(rows)
    yield "recovery", -1, -1, count, recovery if math.isfinite(recovery) else _NAN, _NAN, _NAN
    yield "savings", -1, -1, count, savings_of_last_visit(rows), _NAN, _NAN


def _of_matrix(rows: Rows, learnt: Mapping[int, Sequence[int]]) -> Iterator[Row]:
    steps, tasks, R = performance_matrix(rows)
    found = {tag.removeprefix("transfer/"): value for tag, value in matrix_scalars(R).items()}
    for quantity, value in (found | transfer_at_boundaries(steps, tasks, R, learnt)).items():
        yield quantity, -1, -1, len(rows["step"]), value, _NAN, _NAN


def _columns(test: str, rows: Iterable[Row]) -> dict[str, list[Any]]:
    listed = [(test, *row) for row in rows]
    return {name: [kind(row[k]) for row in listed] for k, (name, kind) in enumerate(COLUMNS.items())}
