"""Aggregates of scores, worked out on paper and as others compute them."""

import numpy as np
import pytest
from scipy import stats

from lifelong.experiments.metrics.aggregate import (
    holm,
    interquartile_mean,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)


def test_the_interquartile_mean_ignores_the_outer_quarters() -> None:
    scores = np.array([[-100.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 100.0]])
    assert interquartile_mean(scores) == 3.5
    assert interquartile_mean(scores, 1).tolist() == [1.5, 5.5]
    assert interquartile_mean(scores, -1).tolist() == [1.5, 5.5]
    assert interquartile_mean(np.stack([scores, scores]), (1, 2)).tolist() == [3.5, 3.5]
    # of five scores one at either end is cut: int(5 / 4)
    assert interquartile_mean(np.array([9.0, 1.0, 2.0, 3.0, -7.0])) == 2.0


@pytest.mark.parametrize("size", [1, 3, 4, 7, 30])
def test_it_is_the_trimmed_mean(size: int) -> None:
    scores = np.random.default_rng(size).normal(size=(size, 3))
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))
    assert interquartile_mean(scores, 0) == pytest.approx(stats.trim_mean(scores, 0.25, axis=0))


def test_the_optimality_gap_by_hand() -> None:
    assert optimality_gap(np.array([[0.5, 1.0], [2.0, 0.9]])) == pytest.approx((0.5 + 0 + 0 + 0.1) / 4)
    assert optimality_gap(np.array([[0.5, 1.0]]), best=2.0) == pytest.approx((1.5 + 1.0) / 2)


def test_profiles_by_hand() -> None:
    scores = np.array([[0.0, 0.5], [0.5, 1.0]])
    assert performance_profile(scores, np.array([-1.0, 0.0, 0.5, 1.0])).tolist() == [1.0, 0.75, 0.25, 0.0]


def test_the_probability_of_improvement_by_hand() -> None:
    # task 1: pairs (1, 0) (1, 2) (3, 0) (3, 2): 3 of 4; task 2: (5, 5) (5, 5) (5, 5) (5, 5): a half
    first, second = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[0.0, 5.0], [2.0, 5.0]])
    assert probability_of_improvement(first, second) == (3 / 4 + 1 / 2) / 2
    assert probability_of_improvement(second, first) == (1 / 4 + 1 / 2) / 2


def test_it_is_mann_and_whitney() -> None:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 9, (10, 3)).astype(float), random.integers(0, 9, (7, 3)).astype(float)
    u = [stats.mannwhitneyu(first[:, i], second[:, i]).statistic / 70 for i in range(3)]
    assert probability_of_improvement(first, second) == pytest.approx(np.mean(u))


def test_holm_of_a_published_example() -> None:
    # p = .01, .04, .03, .005 (the worked example of the Holm-Bonferroni article of Wikipedia): in order .005 * 4 = .02,
    # .01 * 3 = .03, .03 * 2 = .06, and .04 * 1 = .04 is raised to .06. At .05 the first and the fourth are rejected.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stays_below_one_and_is_monotone() -> None:
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.array([0.3])).tolist() == [0.3]
    assert holm(np.array([])).size == 0
    p = np.random.default_rng(0).random(50)
    adjusted = holm(p)
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    assert (adjusted >= p).all()
