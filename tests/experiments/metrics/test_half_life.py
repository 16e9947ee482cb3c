"""Half-lives of forgetters that are known: recovered, covered by their interval, and censored where they must be."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.experiments.metrics.half_life import HalfLife, half_life
from lifelong.experiments.metrics.recall import recall_curve

Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
CHANCE = 0.25


def forgetter(
    h: float, retained: float, lags: NDArray[Any], lives: int, each: int, random: np.random.Generator, spread: float = 0
) -> Arrays:
    """Return life, lag and success of lives that meet each lag `each` times; R is drawn for each life if it spreads."""
    lag = np.tile(np.repeat(lags, each), lives)
    life = np.repeat(np.arange(lives), lags.size * each)
    R = random.beta(retained / spread, (1 - retained) / spread, lives)[life] if spread else retained
    success = random.random(lag.size) < CHANCE + (1 - CHANCE) * R * 2.0 ** (-lag / h)
    return life, lag, success.astype(np.float64)


@pytest.mark.parametrize("h", [20, 200, 2000])
@pytest.mark.parametrize("retained", [1.0, 0.8])
def test_an_exponential_forgetter_is_recovered(h: int, retained: float) -> None:
    random = np.random.default_rng(h)
    lags = np.unique(np.geomspace(1, 5 * h, 200).astype(np.int64))
    life, lag, success = forgetter(h, retained, lags, 20, 3, random)
    found = half_life(lag, success, CHANCE, life=life)
    assert found.lag == pytest.approx(h, rel=0.1)
    assert found.low < h < found.high
    assert found.retained == pytest.approx(retained, abs=0.05)
    curve = recall_curve({"life": life, "lag_episodes": lag, "success": success}, CHANCE)
    assert curve.half_life == found


@pytest.mark.parametrize(("h", "retained"), [(20, 1.0), (200, 0.9), (2000, 0.9)])
@pytest.mark.parametrize("spread", [0.0, 0.25])
def test_the_profile_interval_covers(h: int, retained: float, spread: float) -> None:
    if spread and retained == 1.0:
        retained = 0.8
    times, inside, open_above = 150, 0, 0
    random, lags = np.random.default_rng(1), 4 ** np.arange(7)
    for _ in range(times):
        life, lag, success = forgetter(h, retained, lags, 16, 4, random, spread)
        found = half_life(lag, success, CHANCE, life=life)
        inside += found.low <= h <= found.high
        open_above += math.isinf(found.high)
    error = math.sqrt(0.95 * 0.05 / times)
    assert 0.93 - 3 * error <= inside / times <= 0.975 + 3 * error
    assert open_above <= 0.01 * times


def test_rows_that_say_the_same_count_once() -> None:
    times, inside, naive = 150, 0, 0
    random, lags = np.random.default_rng(7), 4 ** np.arange(6)
    for _ in range(times):
        life, lag, success = (np.repeat(column, 6) for column in forgetter(100, 0.9, lags, 40, 2, random))
        life = np.arange(lag.size) // 12  # each life tells twice six times
        found, plain = half_life(lag, success, CHANCE, life=life), half_life(lag, success, CHANCE)
        inside += found.low <= 100 <= found.high
        naive += plain.low <= 100 <= plain.high
    error = math.sqrt(0.95 * 0.05 / times)
    assert inside / times >= 0.93 - 3 * error
    assert naive / times < 0.75


def test_lives_that_differ_in_what_they_store_do_not_hide_how_fast_they_forget() -> None:
    random, lags = np.random.default_rng(8), 4 ** np.arange(7)
    wider = []
    for _ in range(20):
        life, lag, success = forgetter(200, 0.8, lags, 16, 30, random, spread=0.25)
        found, plain = half_life(lag, success, CHANCE, life=life), half_life(lag, success, CHANCE)
        wider.append(math.log(found.high / found.low) / math.log(plain.high / plain.low))
    assert np.median(wider) < 1.5


def test_a_half_life_beyond_the_lags_is_bounded_from_below() -> None:
    times, inside, closed = 100, 0, 0
    random, lags = np.random.default_rng(2), 2 ** np.arange(8)  # lags up to 128
    for _ in range(times):
        life, lag, success = forgetter(2000, 1.0, lags, 8, 8, random)
        found = half_life(lag, success, CHANCE, life=life)
        inside += found.low <= 2000
        closed += found.high < 2000
        assert found.low > 60
    assert inside >= 90
    assert closed <= 5


def test_the_interval_shrinks_with_rows_and_never_to_a_point() -> None:
    random, lags = np.random.default_rng(3), 2 ** np.arange(9)
    widths = []
    for each in (4, 64, 1024, 16384):
        _, lag, success = forgetter(50, 1.0, lags, 1, each, random)
        found = half_life(lag, success, CHANCE)
        assert found.low < found.lag < found.high
        widths.append(math.log(found.high / found.low))
    shrunk = [before / after for before, after in pairwise(widths)]
    assert shrunk == pytest.approx([4, 4, 4], rel=0.35)  # 16 times the rows; finer than the first grid, of 2 %


def test_what_never_forgets_has_no_half_life_within_the_lags_lived() -> None:
    lag = np.tile(2 ** np.arange(8), 40)
    perfect = half_life(lag, np.ones(lag.size), CHANCE)
    assert perfect.lag == perfect.high == math.inf
    assert 128 < perfect.low < math.inf
    assert perfect.retained == pytest.approx(1.0)
    assert perfect.label(128) == "> 128 (longest lag lived)"
    random = np.random.default_rng(0)
    flat = half_life(lag, (random.random(lag.size) < CHANCE + 0.75 * 0.5).astype(float), CHANCE)
    assert flat.high == math.inf  # half is stored, and none of it forgotten
    assert flat.label(128).startswith("> ")


def test_what_never_leaves_chance_has_none() -> None:
    random, times = np.random.default_rng(4), 200
    lag = np.tile(2 ** np.arange(8), 25)
    claims = sum(
        not math.isnan(half_life(lag, (random.random(lag.size) < CHANCE).astype(float), CHANCE).lag)
        for _ in range(times)
    )
    assert claims / times <= 0.03  # a level of 1 %, over all h
    assert HalfLife().label(128) == "-"


def test_habits_are_no_memory() -> None:
    """Answers fixed for each cue of a life are right or wrong together."""
    random, times, lives, cues = np.random.default_rng(5), 100, 16, 4
    life, lag = np.repeat(np.arange(lives), 200), np.tile(2 ** np.arange(8), 25 * lives)
    claims = naive = 0
    for _ in range(times):
        right = random.random((lives, cues)) < CHANCE
        success = right[life, random.integers(cues, size=lag.size)].astype(float)
        claims += not math.isnan(half_life(lag, success, CHANCE, life=life).lag)
        naive += not math.isnan(half_life(lag, success, CHANCE).lag)
    assert claims / times <= 0.03
    assert naive / times > 0.15


def test_by_hand() -> None:
    # Two lags and two numbers, R and h: with h in reach the fit passes through both shares. q(10) = .8, q(30) = .2 is a
    # factor of 4 in 20 episodes, h = 10, and R = .8 * 2 = 1.6 is too much; q(10) = .4, q(30) = .1: h = 10, R = .8.
    share = {10: 0.25 + 0.75 * 0.4, 30: 0.25 + 0.75 * 0.1}
    lag = np.repeat([10, 30], 1000)
    score = np.concatenate([np.arange(1000) < 1000 * share[10], np.arange(1000) < 1000 * share[30]]).astype(float)
    found = half_life(lag, score, CHANCE)
    assert found.lag == pytest.approx(10, rel=0.02)
    assert found.retained == pytest.approx(0.8, rel=0.03)


def test_scores_between_0_and_1_and_expectations_of_the_row() -> None:
    random = np.random.default_rng(6)
    lag = random.integers(1, 200, 4000)
    forgetful, best = random.uniform(0.1, 0.3, lag.size), random.uniform(0.7, 0.9, lag.size)
    score = forgetful + (best - forgetful) * 0.9 * 2.0 ** (-lag / 40)
    found = half_life(lag, score, forgetful, best)
    assert found.lag == pytest.approx(40, rel=0.03)
    assert found.retained == pytest.approx(0.9, rel=0.02)


@pytest.mark.parametrize("size", [0, 1])
def test_few_rows_have_none(size: int) -> None:
    found = half_life(np.full(size, 3), np.ones(size), CHANCE, life=np.zeros(size))
    assert math.isnan(found.lag)
    assert found.label(3) == "-"


def test_no_gap_has_none() -> None:
    assert math.isnan(half_life(np.arange(1, 50), np.ones(49), 1.0, 1.0, life=np.arange(49)).lag)


@pytest.mark.parametrize(
    ("found", "lived", "label"),
    [
        (HalfLife(20.0, 15.2, 28.4, 1.0), 100, "20 (15.2 to 28.4)"),
        (HalfLife(20.0, 15.2, 128.4, 1.0), 100, "20 (15.2 to > 100)"),
        (HalfLife(200.0, 55.0, math.inf, 1.0), 100, "> 55"),
        (HalfLife(math.inf, 55.0, math.inf, 1.0), 100, "> 55"),
        (HalfLife(math.inf, 155.0, math.inf, 1.0), 100, "> 100 (longest lag lived)"),
        (HalfLife(2048.4, 1999.9, 2101.0, 1.0), 4096, "2.05e+03 (2e+03 to 2.1e+03)"),
    ],
)
def test_labels(found: HalfLife, lived: int, label: str) -> None:
    assert found.label(lived) == label
