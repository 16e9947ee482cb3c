"""Judgements: what the results of a study say of each of its hypotheses."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.aggregate import holm
from lifelong.experiments.metrics.paired import Verdict, compare, verdict
from lifelong.experiments.studies.formula import Comparison, Measure, Side
from lifelong.experiments.studies.measurements import Measurements, measured
from lifelong.experiments.studies.study_file import Hypothesis, StudyFile

__all__ = ["FEW", "Judgement", "judge"]

FEW = 10
"""Seeds below which points are shown, and what their number means is said."""
_LEAST = 3  # seeds of which anything can be told
_NAN = math.nan

Rows = Mapping[str, Mapping[int, Measurements]]
"""Measurements by arm and seed."""


@dataclass(frozen=True)
class Judgement:
    """What results say of one comparison of a hypothesis.

    Args:
        id: of the hypothesis.
        says: the prediction.
        comparison: as it is written.
        measure: as it is written.
        expect: as it is written.
        seeds: that both sides have.
        points: difference of each seed.
        difference: their mean; NaN where the measure is not known.
        low: lower end of its 95 % interval; NaN without one.
        high: upper end.
        p: of what is expected, one direction doubled; not corrected.
        p_holm: corrected for the family of hypotheses of the study; p where the hypothesis is not in it.
        verdict: supported, refuted, or not told apart.
        notes: what limits it: few seeds, missing values, an exploratory study.
    """

    id: str
    says: str
    comparison: str
    measure: str
    expect: str
    seeds: tuple[int, ...]
    points: tuple[float, ...] = ()
    difference: float = _NAN
    low: float = _NAN
    high: float = _NAN
    p: float = _NAN
    p_holm: float = _NAN
    verdict: Verdict = "not told apart"
    notes: tuple[str, ...] = ()


def judge(file: StudyFile, rows: Rows, exploratory: str = "") -> list[Judgement]:
    """Return the judgements of a study, those of a hypothesis one after another.

    Args:
        file: of the study.
        rows: its results.
        exploratory: why the study is, as a sentence; empty if it is not.
    """
    found, families = [], []
    for hypothesis in file.hypotheses:
        for comparison in hypothesis.contrast.comparisons:
            found.append(_judged(hypothesis, comparison, rows))
            families.append(hypothesis.corrected)
    above = _corrected([p for _, p, _ in found], families)
    below = _corrected([p for _, _, p in found], families)
    judged = []
    for (one, p, _), p_holm, p_below in zip(found, above, below, strict=True):
        notes = one.notes + ((exploratory,) if exploratory else ())
        judged.append(replace(one, p=p, p_holm=p_holm, verdict=verdict(p_holm, p_below), notes=notes))
    return judged


def _corrected(p: Sequence[float], families: Sequence[bool]) -> list[float]:
    """Return p values of which those of the family are corrected."""
    values, mine = np.array(p, np.float64), np.array(families, np.bool_)
    if mine.any():
        values[mine] = holm(values[mine])
    return [float(value) for value in values]


def _judged(hypothesis: Hypothesis, comparison: Comparison, rows: Rows) -> tuple[Judgement, float, float]:
    """Return a judgement without verdict, and p of what is expected and of too small an effect."""
    sides = [comparison.left, *([comparison.right] if comparison.right else [])]
    arms = [arm for side in sides for arm in side.arms]
    seeds = tuple(sorted(set.intersection(*(set(rows.get(arm, {})) for arm in arms))))
    said = Judgement(
        hypothesis.id, hypothesis.says, comparison.label, hypothesis.measure.text, hypothesis.expect.text, seeds
    )
    if not seeds:
        return replace(said, notes=("no seed has all arms",)), 1.0, 1.0
    values = {arm: _of_arm(arm, hypothesis.measure, rows, seeds) for arm in arms}
    if unknown := [arm for arm in arms if np.isnan(values[arm]).any()]:
        missing = f"the measure is not known in all seeds of {', '.join(unknown)}"
        return replace(said, notes=(missing,)), 1.0, 1.0
    left, right = (_side(side, values, len(seeds)) for side in (comparison.left, comparison.right))
    sign, margin, smallest = hypothesis.expect.sign, hypothesis.expect.margin, hypothesis.smallest
    above, below = (left, right) if sign > 0 else (right, left)
    found = compare(above, below, sign * margin, None if smallest is None else sign * smallest)
    low, high = (found.low, found.high) if sign > 0 else (-found.high, -found.low)
    judged = replace(
        said,
        points=tuple(sign * point for point in found.points),
        difference=sign * found.difference,
        low=low,
        high=high,
        notes=tuple(_few(len(seeds))),
    )
    return judged, found.p_above, found.p_below


def _of_arm(arm: str, measure: Measure, rows: Rows, seeds: Sequence[int]) -> NDArray[np.float64]:
    """Return [seeds] the measure of an arm."""
    return np.array([measured(rows[arm][seed], measure) for seed in seeds], np.float64)


def _side(side: Side | None, values: Mapping[str, NDArray[np.float64]], seeds: int) -> NDArray[np.float64]:
    """Return [arms, seeds] the values of a side; zeros where there is none."""
    if side is None:
        return np.zeros((1, seeds))
    stacked = np.stack([values[arm] for arm in side.arms])
    return stacked.mean(0, keepdims=True) if side.by == "mean" else stacked


def _few(seeds: int) -> Iterator[str]:
    """Yield what fewer than ten seeds mean, as a sentence."""
    if seeds < _LEAST:
        yield f"{seeds} seed{'s' if seeds > 1 else ''}: the points, and nothing can be told apart below {_LEAST}"
    elif seeds < FEW:
        yield (
            f"{seeds} seeds, fewer than {FEW}: interval and p are right if differences of seeds are normal; see the "
            "points"
        )
