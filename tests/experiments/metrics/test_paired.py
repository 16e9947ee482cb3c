"""Differences whose truth is known: worked out by hand, and how often verdicts err over many simulated studies."""

import math

import numpy as np
import pytest

from lifelong.experiments.metrics.aggregate import holm
from lifelong.experiments.metrics.paired import compare, verdict


def test_a_difference_worked_out_by_hand() -> None:
    found = compare(np.array([[0.5, 0.6, 0.8, 0.5]]), np.array([[0.4, 0.4, 0.5, 0.5]]))
    assert found.points == pytest.approx((0.1, 0.2, 0.3, 0.0))
    assert found.difference == pytest.approx(0.15)
    # deviations -.05 .05 .15 -.15: variance .05 / 3; t = .15 / (.1291 / 2) = 2.324; t_3(.975) = 3.182
    assert found.low == pytest.approx(0.15 - 3.182446 * 0.0645497, abs=1e-6)
    assert found.interval == "t"
    assert found.p_above == pytest.approx(0.1027, abs=1e-3)
    assert found.p_below == 1.0  # 2 P(T < 2.3) is above 1


def test_differences_without_spread_are_told_by_their_signs() -> None:
    ones, zeros = np.ones((1, 5)), np.zeros((1, 5))
    assert compare(ones, zeros).p_above == 2.0**-4
    assert compare(zeros, ones).p_below == 2.0**-4
    same = compare(ones, ones)
    assert (same.p_above, same.p_below, same.difference) == (1.0, 1.0, 0.0)


def test_two_seeds_tell_nothing() -> None:
    found = compare(np.array([[1.0, 0.9]]), np.array([[0.0, 0.1]]))
    assert (found.p_above, found.p_below, found.interval) == (1.0, 1.0, "")
    assert math.isnan(found.low)


def test_the_best_has_to_be_exceeded_altogether() -> None:
    rng = np.random.default_rng(0)
    mine, weak, strong = (rng.normal(mean, 0.05, 12) for mean in (0.6, 0.2, 0.59))
    alone, both = compare([mine], [weak]), compare([mine], [weak, strong])
    assert alone.p_above < 1e-6
    assert both.p_above == compare([mine], [strong]).p_above  # the largest of the two
    assert both.points == pytest.approx(tuple(mine - strong))
    assert compare([mine, weak], [weak - 1]).p_above == pytest.approx(2 * compare([mine], [weak - 1]).p_above)


def test_a_smallest_effect_refutes_what_is_too_small() -> None:
    rng = np.random.default_rng(1)
    tiny = rng.normal(0.01, 0.001, (1, 20))
    zeros = np.zeros((1, 20))
    found = compare(tiny, zeros, 0.0, 0.05)
    assert found.p_above < 0.05
    assert found.p_below < 0.05
    assert verdict(found.p_above, found.p_below) == "refuted"  # there is one, and it is smaller than of interest
    no_worse = compare(-tiny, zeros, -0.02)
    assert verdict(no_worse.p_above, no_worse.p_below) == "supported"
    with pytest.raises(ValueError, match=r"below the margin: -0\.1 < 0"):
        compare(tiny, zeros, 0.0, -0.1)


@pytest.mark.parametrize(("left", "right"), [((1, 3), (1, 4)), ((1, 0), (1, 0))])
def test_pairs_have_equal_seeds(left: tuple[int, int], right: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="equal seeds"):
        compare(np.zeros(left), np.zeros(right))


def studies(effect: float, seeds: int, number: int = 1000) -> dict[str, float]:
    """Return the shares of verdicts of simulated studies of one hypothesis "> 0"."""
    rng = np.random.default_rng(seeds)
    found = []
    for _ in range(number):
        lives = rng.normal(0.0, 0.1, seeds)  # what a seed's lives do to both arms
        a, b = (lives + rng.normal(mean, 0.05, seeds) for mean in (effect, 0.0))
        one = compare([a], [b], resamples=2)
        found.append(verdict(one.p_above, one.p_below))
    return {name: found.count(name) / number for name in ("supported", "refuted", "not told apart")}


@pytest.mark.parametrize("seeds", [5, 10])
def test_one_in_twenty_studies_without_a_difference_says_there_is_one(seeds: int) -> None:
    shares = studies(0.0, seeds)
    assert 0.03 < shares["supported"] + shares["refuted"] < 0.072  # three standard errors of .05 are .02
    assert 0.01 < shares["supported"] < 0.045


def test_a_difference_of_its_own_size_is_found() -> None:
    shares = studies(0.1, 10)  # the standard deviation of a difference is .07: t is about 4.5
    assert shares["supported"] > 0.95
    assert shares["refuted"] == 0.0


def test_holm_keeps_a_family_of_questions_at_its_level() -> None:
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(300):
        ps = [compare(rng.normal(0, 1, (1, 8)), np.zeros((1, 8)), resamples=2) for _ in range(5)]
        above, below = (holm(np.array([getattr(one, name) for one in ps])) for name in ("p_above", "p_below"))
        wrong += any(verdict(*both) != "not told apart" for both in zip(above, below, strict=True))
    assert wrong / 300 < 0.08


def test_the_paired_bootstrap_covers() -> None:
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(250):
        lives = rng.normal(0.0, 0.2, 10)
        found = compare([lives + rng.normal(0.03, 0.05, 10)], [lives + rng.normal(0.0, 0.05, 10)], resamples=1000)
        inside += found.low < 0.03 < found.high
        assert found.interval == "bootstrap"
    assert 0.91 < inside / 250 < 0.98
