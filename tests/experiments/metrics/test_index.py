"""The memory index of policies whose memory is known, in all episodes and by lag."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.experiments.metrics.index import index_curve, memory_index, memory_index_interval
from lifelong.experiments.metrics.proportions import wilson_interval

Rows = dict[str, NDArray[Any]]
RowsOf = Callable[..., Rows]
CHANCE, CACHE = 0.25, 15
VARIANCE = CHANCE * (1 - CHANCE)  # of one guess


def curve_of(rows: Rows, **options: Any) -> Any:
    return index_curve(rows, random=CHANCE, oracle=1.0, **options)


@pytest.mark.parametrize("kind", ["constant", "random", "habit"])
def test_without_a_memory_the_index_is_zero_at_every_lag(rows_of: RowsOf, kind: str) -> None:
    curve = curve_of(rows_of(kind, "reward"))
    rho, low, high = np.array(curve.rho), np.array(curve.low), np.array(curve.high)
    measured = ~np.isnan(rho)
    assert measured.sum() >= 7
    assert (np.abs(rho) <= (high - low))[measured].all(), curve.table()  # half the width is 2 standard errors
    assert abs(curve.area) <= 0.04
    assert curve.half_life_label == "-"


def test_the_best_memory_has_index_one_at_every_lag(rows_of: RowsOf) -> None:
    rows = rows_of("perfect", "reward")
    curve = curve_of(rows)
    rho, low, high = np.array(curve.rho), np.array(curve.low), np.array(curve.high)
    measured = ~np.isnan(rho)
    assert measured.sum() >= 7
    assert (np.abs(rho - 1) <= (high - low))[measured].all(), curve.table()
    assert curve.area == pytest.approx(1.0, abs=0.04)
    assert curve.half_life_label.startswith("> ")


def test_a_cache_has_no_index_beyond_its_length(rows_of: RowsOf) -> None:
    curve = curve_of(rows_of("cache", "reward"))
    inside = CACHE.bit_length()
    assert min(curve.rho[:inside]) > 0.5  # it forgets what failed before the last try: less than the best
    rho, width = (np.array(column[inside:]) for column in (curve.rho, np.subtract(curve.high, curve.low)))
    assert (np.abs(rho) <= width)[~np.isnan(rho)].all(), curve.table()


@pytest.mark.parametrize("feedback", ["reveal", "reward"])
def test_the_memory_index_is_zero_without_and_one_with_a_perfect_memory(rows_of: RowsOf, feedback: str) -> None:
    rows = rows_of("random", feedback)
    size = rows["return"].size
    gap = rows["cross"].mean() - CHANCE
    assert abs(memory_index(rows)) <= 4 * math.sqrt(VARIANCE / size) / gap
    rows = rows_of("perfect", feedback)
    gap = rows["cross"].mean() - CHANCE
    cues = np.unique(rows["life"] * 1000 + rows["task"]).size
    # What luck decides per cue: the first guess, or in which of four tries (variance 1.25) the answer is found.
    luck = VARIANCE if feedback == "reveal" else 1.25
    error = math.sqrt(luck * cues) / size / gap
    index, (low, high) = memory_index(rows), memory_index_interval(rows)
    assert abs(index - 1) <= 4 * error
    assert low < index < high
    assert high - low <= 2 * 1.96 * error * 1.2  # luck at its largest; from some two hundred lives


def test_by_hand() -> None:
    ones = np.ones(3, np.float32)
    assert memory_index({"return": ones * 3, "within": ones, "cross": ones * 5}) == 0.5
    rows = {"return": np.array([1.0, 0, 1]), "within": np.array([0.5, 0.5, 0.25]), "cross": np.array([1.0, 0.75, 0.75])}
    assert memory_index(rows) == pytest.approx((2 - 1.25) / (2.5 - 1.25))
    assert memory_index(rows, np.array([True, True, False])) == pytest.approx(0.0)
    rows |= {"life": np.arange(3), "lag_episodes": np.array([1, 4, 5])}
    curve = curve_of(rows, minimum=1)
    assert curve.rho == pytest.approx((0.5 / 0.5, math.nan, (1 - 0.75) / (1.5 - 0.75)), nan_ok=True)


@pytest.mark.parametrize(("within", "cross"), [(math.nan, 1.0), (1.0, math.nan), (1.0, 1.0)])
def test_without_references_or_a_gap_there_is_no_index(within: float, cross: float) -> None:
    ones = np.ones(40)
    rows = {"return": ones, "within": ones * within, "cross": ones * cross, "life": np.arange(40)}
    assert math.isnan(memory_index(rows))
    assert all(map(math.isnan, memory_index_interval(rows)))
    curve = curve_of(rows | {"lag_episodes": np.full(40, 2)})
    assert not curve.measured
    assert (
        "are not known at these settings" if cross != within else "does as well as one that does not"
    ) in curve.reason


def test_no_rows_have_no_index() -> None:
    nothing = np.zeros(0)
    rows = {"return": nothing, "within": nothing, "cross": nothing, "life": nothing, "lag_episodes": nothing}
    assert math.isnan(memory_index(rows))
    assert all(map(math.isnan, memory_index_interval(rows)))
    assert curve_of(rows).reason == "no task was met a second time"


def test_rows_without_references_do_not_count(simulate: RowsOf) -> None:
    rows = simulate("perfect", "reward", lives=20, episodes=100)
    known = np.arange(rows["life"].size) % 3 > 0
    some = rows | {"cross": np.where(known, rows["cross"], np.nan)}
    assert curve_of(some).to_json() == curve_of(rows, where=known).to_json()


def test_a_bin_in_which_remembering_gains_nothing_has_no_value() -> None:
    lag, ones = np.repeat([1, 2], 40), np.ones(80)
    rows = {"life": np.arange(80), "lag_episodes": lag, "return": ones, "within": ones * 0.25}
    rows["cross"] = np.where(lag == 1, 0.28, 1.0)  # a twentieth of .75 is .0375
    assert curve_of(rows).rho == pytest.approx((math.nan, 1.0), nan_ok=True)
    rows["cross"] = np.where(lag == 1, 0.29, 1.0)
    assert curve_of(rows).rho == pytest.approx((0.75 / 0.04, 1.0))


def test_a_policy_that_has_not_learnt_the_task_has_no_curve_and_a_sentence() -> None:
    random = np.random.default_rng(0)
    size = 4000
    rows = {"life": np.repeat(np.arange(40), 100), "lag_episodes": random.integers(1, 64, size)}
    rows |= {"within": np.full(size, 0.5), "cross": np.ones(size)}
    rows["return"] = (random.random(size) < 0.3).astype(np.float32)
    curve = index_curve(rows, random=0.3, oracle=1.0)
    assert curve.rho == ()
    assert curve.reason.startswith(f"the mean return {rows['return'].mean():.3f} is below 0.500, that of the best")
    many = {name: np.tile(column, 10) for name, column in rows.items()} | {"life": np.repeat(np.arange(400), 100)}
    many["lag_episodes"] = random.integers(1, 64, 10 * size)
    many["return"] = np.tile(np.arange(100) < 49, 400).astype(np.float32)  # surely worse, but by little
    assert -0.03 < memory_index_interval(many)[1] < 0
    assert index_curve(many, random=0.3, oracle=1.0).measured
    # what was met just now is remembered, though all the rest is worse than a guess: a curve
    rows["return"] = ((random.random(size) < 0.3) | (rows["lag_episodes"] < 4)).astype(np.float32)
    assert memory_index_interval(rows)[1] < -0.03
    assert index_curve(rows, random=0.3, oracle=1.0).rho[:2] == (1.0, 1.0)


def rows_at(P: float, lives: int, each: int, kind: str, random: np.random.Generator) -> tuple[Rows, float]:
    """Return rows of an agent that is right with probability P where something is known, and its index."""
    size = lives * each
    within, cross, right = np.full(size, CHANCE), np.ones(size), np.full(size, P)
    index = (P - CHANCE) / (1 - CHANCE)
    if kind == "first meetings":  # nothing is known, and all guess, in one of six
        first = random.random(size) < 1 / 6
        cross[first] = right[first] = CHANCE
    elif kind == "uncertain":  # the best is never sure
        within, cross = np.full(size, 0.5), random.choice([0.55, 0.7, 0.85, 0.95], size)
        index = (P - 0.5) / 0.5
        right = within + index * (cross - within)
    returns = (random.random(size) < right).astype(np.float32)
    return {"life": np.repeat(np.arange(lives), each), "return": returns, "within": within, "cross": cross}, index


@pytest.mark.parametrize("kind", ["all met", "first meetings", "uncertain"])
@pytest.mark.parametrize("P", [0.5, 0.9, 0.97, 0.99])
@pytest.mark.parametrize(("lives", "each"), [(8, 4), (30, 1), (25, 4), (20, 50)])
def test_the_interval_covers(kind: str, P: float, lives: int, each: int) -> None:
    random, times, inside = np.random.default_rng(lives), 400, 0
    for _ in range(times):
        rows, index = rows_at(P, lives, each, kind, random)
        low, high = memory_index_interval(rows)
        inside += low <= index <= high
    error = math.sqrt(0.95 * 0.05 / times)
    assert 0.925 - 3 * error <= inside / times <= 0.99 + 3 * error


def test_an_interval_is_never_a_point() -> None:
    ones = np.ones(43)
    rows = {"life": np.arange(43), "return": ones, "within": ones * 0.25, "cross": ones}
    low, high = memory_index_interval(rows | {"within": np.where(np.arange(43) == 0, 0.0, 0.25)})
    assert high == pytest.approx(1.0)
    gap = 1 - 0.25 * 42 / 43
    assert low == pytest.approx(1 - (1 - float(wilson_interval(1.0, 43)[0])) / gap)
