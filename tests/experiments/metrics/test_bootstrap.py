"""Intervals over seeds: they cover, are narrower where seeds are paired, and refuse what is no pair."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from lifelong.experiments.metrics.aggregate import interquartile_mean
from lifelong.experiments.metrics.bootstrap import paired_interval, percentile_interval, stratified_interval

Scores = NDArray[np.float64]


def mean(scores: Scores) -> Scores:
    return np.asarray(scores.mean((-2, -1)))


def middle(scores: Scores) -> Scores:
    return interquartile_mean(scores, (-2, -1))


def test_the_percentiles_by_hand() -> None:
    # Of 11 seeds and one task t_10 = 2.228139, times sqrt(1.1) 2.336896: Φ of its negative is .009722
    draws = np.linspace(0, 1, 100_001)
    low, high = percentile_interval(draws, 11)
    assert low == pytest.approx(0.009722, abs=1e-5)
    assert high == pytest.approx(1 - 0.009722, abs=1e-5)
    wide = percentile_interval(draws, 1000)
    assert wide == (pytest.approx(0.025, abs=3e-4), pytest.approx(0.975, abs=3e-4))
    assert all(map(math.isnan, percentile_interval(draws, 1)))


def test_the_interval_of_a_mean_is_that_of_t() -> None:
    scores = np.random.default_rng(1).normal(size=(20, 1))
    low, high = stratified_interval(scores, mean, resamples=20_000)
    half = special.stdtrit(19, 0.975) * scores.std(ddof=1) / math.sqrt(20)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize(("seeds", "tasks"), [(5, 1), (10, 1), (5, 6), (10, 6)])
@pytest.mark.parametrize("statistic", [mean, middle])
def test_it_covers(seeds: int, tasks: int, statistic: Any) -> None:
    random, times, inside = np.random.default_rng(2), 300, 0
    for seed in range(times):
        low, high = stratified_interval(random.normal(size=(seeds, tasks)), statistic, resamples=500, seed=seed)
        inside += low <= 0 <= high
    error = math.sqrt(0.95 * 0.05 / times)
    assert 0.92 - 3 * error <= inside / times <= 0.975 + 3 * error


def test_seeds_are_resampled_within_each_task() -> None:
    scores = np.tile([0.0, 10.0], (10, 1))  # tasks differ, seeds do not: nothing is uncertain
    assert stratified_interval(scores, mean) == (5.0, 5.0)
    assert paired_interval(scores, scores - 1, mean) == (1.0, 1.0)


def test_pairs_of_correlated_seeds_are_narrower() -> None:
    random = np.random.default_rng(3)
    seed = random.normal(size=(12, 4))  # what a seed's lives are worth, to both agents
    first, second = (seed + random.normal(shift, 0.2, size=(12, 4)) for shift in (0.3, 0.0))
    low, high = paired_interval(first, second, mean)
    assert 0 < low < (first - second).mean() < high  # they differ
    unpaired = paired_interval(first, random.permutation(second), mean)
    assert high - low < 0.5 * (unpaired[1] - unpaired[0])
    assert unpaired[0] < 0


def test_what_is_no_pair_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pairs need equal seeds and tasks: \(3, 2\) and \(4, 2\)"):
        paired_interval(np.zeros((3, 2)), np.zeros((4, 2)), mean)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = np.random.default_rng(4).normal(size=(8, 3))
    assert stratified_interval(scores, middle) == stratified_interval(scores, middle)
    assert stratified_interval(scores, middle) != stratified_interval(scores, middle, seed=1)
