"""Recovery, savings, adaptation gain and regret, worked out on paper."""

import math

import numpy as np
import pytest

from lifelong.experiments.metrics.adaptation import (
    adaptation_gain,
    dynamic_regret,
    median_recovery,
    recovery_time,
    savings,
)

SCORES = np.array([0.1, 0.9, 0.2, 0.7, 0.8, 0.9])


def test_recovery_by_hand() -> None:
    assert recovery_time(SCORES, 0.9) == 1
    # means of two: .5, .55, .45, .75, .85
    assert recovery_time(SCORES, 0.75, window=2) == 3
    assert recovery_time(SCORES, 0.86, window=2) is None  # censored
    assert recovery_time(SCORES, 0.1) == 0
    assert recovery_time(np.full(3, 0.1), 0.1, window=3) == 0  # .1 + .1 + .1 is not quite .3
    assert recovery_time(SCORES[:1], 0.0, window=2) is None
    assert recovery_time(SCORES[:0], 0.0) is None
    with pytest.raises(ValueError, match="window must be at least 1: window=0"):
        recovery_time(SCORES, 0.9, window=0)


def test_the_median_is_that_of_kaplan_and_meier() -> None:
    assert median_recovery([1, 2, 3, 4], [9, 9, 9, 9]) == 2  # S(2) = 3/4 * 2/3 = 1/2
    # censored at 2 before two are known: S(1) = 4/5, S(3) = 4/5 * 2/3, S(5) = 4/5 * 2/3 * 1/2 = 4/15
    assert median_recovery([1, None, 3, 5, None], [9, 2, 9, 9, 9]) == 5
    assert median_recovery([0, 0, None], [5, 5, 5]) == 0
    assert median_recovery([1, 2, None, None, None], [9] * 5) == math.inf  # S = 3/5: fewer than half
    assert median_recovery([None, None], [5, 5]) == math.inf
    assert median_recovery([], []) == math.inf
    with pytest.raises(ValueError, match="zip"):
        median_recovery([1, 2], [9])


def test_a_mean_of_censored_times_would_be_too_short() -> None:
    random = np.random.default_rng(0)
    times = random.geometric(0.05, 4000)  # median 14
    lengths = random.integers(5, 60, 4000)
    seen = [int(time) if time <= length else None for time, length in zip(times, lengths, strict=True)]
    assert median_recovery(seen, lengths.tolist()) == pytest.approx(14, abs=1)
    assert np.median([time for time in seen if time is not None]) < 11


def test_savings_by_hand() -> None:
    assert savings(20, 5) == 0.75
    assert savings(20, 30) == -0.5
    assert savings(20, 20) == 0
    for first in (0, -1, math.nan):
        with pytest.raises(ValueError, match="savings need a first visit that took time"):
            savings(first, 1)


def test_the_adaptation_gain_by_hand() -> None:
    assert adaptation_gain(np.array([0.2, 0.9, 0.6]), 1.0) == pytest.approx(0.5)
    assert adaptation_gain(np.array([0.2]), 1.0) == 0
    assert math.isnan(adaptation_gain(np.array([1.0, 0.5]), 1.0))


def test_regret_by_hand() -> None:
    found = dynamic_regret(np.array([1, 0, 1], np.float32), np.array([1.0, 0.5, 0.75]))
    assert found.tolist() == [0.0, 0.5, 0.25]
    assert found.dtype == np.float64
    assert dynamic_regret(np.zeros(0), np.zeros(0)).size == 0
