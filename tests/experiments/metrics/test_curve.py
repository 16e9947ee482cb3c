"""The curve: bins and intervals by hand, the area over named bins, what JSON keeps."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lifelong.experiments.metrics.curve import RetentionCurve, area_under_retention, retention_curve
from lifelong.experiments.metrics.half_life import HalfLife
from lifelong.experiments.metrics.proportions import wilson_interval

NAN = math.nan


def curve_of(right: list[int], of: list[int], minimum: int = 1, lives: int = 1) -> RetentionCurve:
    """Return a curve with that many right answers in each bin, out of 4."""
    lag = np.repeat([2**k for k in range(len(of))], of)
    score = np.concatenate([np.arange(n) < k for k, n in zip(right, of, strict=True)]).astype(np.float64)
    return retention_curve("recall", np.arange(lag.size) % lives, lag, score, 0.25, 1.0, minimum=minimum)


def test_bins_by_hand() -> None:
    curve = curve_of([40, 28, 10], [40, 40, 40])
    assert curve.rho == (1.0, pytest.approx((0.7 - 0.25) / 0.75), pytest.approx(0.0))
    assert curve.score == (1.0, pytest.approx(0.7), 0.25)
    assert curve.count == (40, 40, 40)
    assert curve.lag == (1, 2, 4)
    assert curve.bins == ("1", "2-3", "4-7")
    assert curve.lived == 4
    low, high = wilson_interval(0.7, 40)  # one life: as independent rows
    assert curve.low[1] == pytest.approx((low - 0.25) / 0.75)
    assert curve.high[1] == pytest.approx((high - 0.25) / 0.75)
    assert curve.area == pytest.approx((1 + 0.6 + 0) / 3)
    assert curve.area_label == "lags 1 to 7"
    assert curve.reason == ""
    assert curve.measured


def test_expectations_are_of_the_row() -> None:
    # rho = Σ (score - forgetful) / Σ (best - forgetful): (2 - .75) / (2 - .75 + ...) with a best of 1 and of .5
    lag, score = np.full(4, 3), np.array([1.0, 1.0, 0.0, 0.0])
    forgetful, best = np.array([0.25, 0.25, 0.25, 0.0]), np.array([1.0, 1.0, 0.5, 0.5])
    curve = retention_curve("index", np.arange(4), lag, score, forgetful, best, minimum=1)
    assert curve.rho[1] == pytest.approx((2 - 0.75) / (3 - 0.75))
    assert math.isnan(curve.rho[0])


def test_the_interval_is_of_what_rows_differ_from_their_expectations() -> None:
    # Half of the lives meet rows in which the best gets 1, the others rows in which it gets .5; all do as the best.
    # Lives differ as they must: no variance is seen, and all 400 rows count.
    life, lag = np.repeat(np.arange(40), 10), np.full(400, 1)
    hard = life % 2 == 1
    score, best = np.where(hard, np.arange(400) % 2, 1).astype(np.float64), np.where(hard, 0.5, 1.0)
    curve = retention_curve("index", life, lag, score, 0.25, best)
    low, high = wilson_interval(0.75, 400)
    assert curve.rho == (1.0,)
    assert (curve.low[0], curve.high[0]) == pytest.approx(((low - 0.25) / 0.5, (high - 0.25) / 0.5))


def test_other_bounds_are_the_same_curve() -> None:
    random = np.random.default_rng(0)
    life, lag, score = np.repeat(np.arange(20), 30), random.integers(1, 64, 600), random.random(600).round()
    unit = retention_curve("index", life, lag, score, 0.25, 1.0)
    scaled = retention_curve("index", life, lag, score * 200 - 50, 0.0, 150.0, bounds=(-50.0, 150.0))
    for name in ("rho", "low", "high"):
        assert getattr(scaled, name) == pytest.approx(getattr(unit, name), nan_ok=True)
    assert scaled.score == pytest.approx([200 * score - 50 for score in unit.score])
    assert scaled.area == pytest.approx(unit.area)
    assert scaled.half_life.lag == pytest.approx(unit.half_life.lag, nan_ok=True)


def test_thin_bins_have_no_retention() -> None:
    curve = curve_of([30, 29, 30], [30, 29, 30], minimum=30)
    assert [math.isnan(rho) for rho in curve.rho] == [False, True, False]
    assert [math.isnan(low) for low in curve.low] == [False, True, False]
    assert curve.count == (30, 29, 30)
    assert math.isnan(curve.area)  # a bin between the first and the last is missing: no mean of the others
    assert curve.area_bins == (0, 2)
    assert curve_of([9], [9], minimum=30).reason == "no lag bin has 30 rows, the fullest has 9"


def test_thin_bins_at_the_ends_are_outside_of_the_area() -> None:
    curve = curve_of([1, 40, 20, 1], [1, 40, 40, 1], minimum=30)
    assert curve.area_bins == (1, 2)
    assert curve.area_label == "lags 2 to 7"
    assert curve.area == pytest.approx((1 + 1 / 3) / 2)


def test_the_area_needs_all_its_bins() -> None:
    assert area_under_retention((1.0, 0.5, 0.0), 0, 1) == 0.75
    assert math.isnan(area_under_retention((1.0, NAN, 0.0), 0, 2))
    assert math.isnan(area_under_retention((1.0, 0.5), 0, 2))  # absent
    assert math.isnan(area_under_retention((1.0, 0.5), 0, -1))


def test_the_area_of_a_perfect_memory_has_a_lower_end() -> None:
    # Three bins of 43 rows, none wrong: as 129 equal rows, n / (n + z²) = 129 / 132.8415
    curve = curve_of([43, 43, 43], [43, 43, 43], lives=43)
    assert curve.area_low == pytest.approx((129 / (129 + stats.norm.ppf(0.975) ** 2) - 0.25) / 0.75)
    assert curve.area_high == pytest.approx(1.0)


def test_bins_without_a_gap_have_no_value() -> None:
    lag, score = np.repeat([1, 2], 50), np.ones(100)
    best = np.repeat([0.29, 1.0], 50)
    curve = retention_curve("index", np.arange(100), lag, score, 0.25, best, gap=0.05)
    assert math.isnan(curve.rho[0])
    assert curve.rho[1] == 1.0
    nothing = retention_curve("index", np.arange(100), lag, score, 1.0, 1.0)
    assert not nothing.measured
    assert nothing.reason == "a policy that forgets does as well as one that does not"
    assert nothing.half_life_label == "-"
    worse = retention_curve("index", np.arange(100), lag, score, 1.0, 0.5)
    assert not worse.measured  # a best that is below the other is none


def test_no_rows_make_an_empty_curve() -> None:
    nothing = np.zeros(0, np.int64)
    curve = retention_curve("recall", nothing, nothing, nothing.astype(float), 0.25, 1.0)
    assert curve.rho == curve.count == ()
    assert math.isnan(curve.area)
    assert curve.area_label == "no lags"
    assert curve.half_life_label == "-"
    assert curve.reason == "no task was met a second time"
    assert not curve.measured


def test_one_row_is_a_curve() -> None:
    curve = retention_curve("recall", np.array([7]), np.array([2**40]), np.array([1.0]), 0.25, 1.0, minimum=1)
    assert len(curve.rho) == 41
    assert curve.rho[40] == 1.0
    assert curve.half_life_label == "-"


def test_the_table_has_a_line_for_each_bin_with_rows() -> None:
    curve = replace(curve_of([40, 0, 10], [40, 0, 40]), corrected=(0.9, NAN, -0.1))
    heading, *lines = curve.table()
    assert heading == ("lag (episodes)", "retention", "less transfer", "95 % interval", "P(correct)", "count")
    assert [line[0] for line in lines] == ["1", "4-7", "area, lags 1 to 7", "half-life"]
    assert lines[0][1:3] == ("1.000", "0.900")
    assert lines[2][1] == "-"  # no rows at lags 2 and 3
    assert len({len(line) for line in [heading, *lines]}) == 1


def test_a_curve_survives_json() -> None:
    measured = curve_of([40, 12, 29], [40, 20, 40], minimum=30)
    half = HalfLife(math.inf, 31.5, math.inf, 0.97)
    for curve in (measured, replace(measured, half_life=half, corrected=(1.0, NAN, 0.5), reason="a")):
        text = curve.to_json()
        again = RetentionCurve.from_json(text)
        assert repr(again) == repr(curve)  # NaN is not equal to itself
        assert again.table() == curve.table()
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_curves_of_0_1_can_be_read() -> None:
    text = """{"kind": "recall", "rho": [1.0, null, 0.25], "low": [0.9, null, 0.1], "high": [1.0, null, 0.4],
               "score": [1.0, 0.5, 0.44], "count": [100, 3, 80], "area": 0.625, "area_low": 0.5, "area_high": 0.7,
               "minimum": 30}"""
    curve = RetentionCurve.from_json(text)
    assert curve.measure == "recall"
    assert curve.rho == pytest.approx((1.0, NAN, 0.25), nan_ok=True)
    assert curve.area == 0.625
    assert curve.half_life_label == "-"
    assert curve.table()[-2][0] == "area"  # of which bins was not written down
    assert RetentionCurve.from_json(text.replace("recall", "stay_shift")).measure == "stay_shift"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "a retention curve must be a table with an entry `rho`"),
        ('{"measure": "recall"}', "a retention curve must be a table with an entry `rho`"),
        ('{"rho": [], "measure": "guess"}', "measure must be one of recall, index, gain, stay_shift, got 'guess'"),
        ('{"rho": [], "measure": "recall"}', "a retention curve needs low, high, score, count"),
        ('{"rho"', "Expecting"),
    ],
)
def test_what_is_no_curve_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetentionCurve.from_json(text)
