"""Wilson's interval covers what it says: exactly for independent rows, by simulation for rows in lives."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lifelong.experiments.metrics.proportions import effective_count, few_lives, weighted_interval, wilson_interval

EACH_P = pytest.mark.parametrize("P", [0.5, 0.9, 0.97, 0.99])
TIMES = 4000


def covered(P: float, low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    return float(((low <= P) & (high >= P)).mean())


def successes(P: float, counts: NDArray[np.int64], correlation: float, seed: int) -> NDArray[np.float64]:
    """Return [lives, TIMES] successes of lives whose own P is drawn from a beta distribution."""
    random = np.random.default_rng(seed)
    own = np.full((counts.size, TIMES), P)
    if correlation:
        size = (1 - correlation) / correlation
        own = random.beta(P * size, (1 - P) * size, size=own.shape)
    return random.binomial(counts[:, None], own).astype(np.float64)


def interval_over_lives(scores: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    rows = np.broadcast_to(counts[:, None].astype(np.float64), scores.shape)
    return wilson_interval(scores.sum(0) / counts.sum(), effective_count(scores, rows))


def test_wilson_by_hand() -> None:
    # p = .9, n = 100, z = 1.959964: (.9 + .0192073) / 1.0384146 = .885202; half = 1.887439 * .0312105 = .058910
    # with z / (1 + z²/n) = 1.887458 and sqrt(.09 / 100 + 3.841459 / 40000) = sqrt(.000996036) = .0315600
    low, high = wilson_interval(0.9, 100)
    assert low == pytest.approx(0.885202 - 1.887458 * 0.0315600, abs=2e-6)
    assert high == pytest.approx(0.885202 + 1.887458 * 0.0315600, abs=2e-6)
    # p = 1: the lower end is n / (n + z²)
    low, high = wilson_interval(1.0, 43)
    assert low == pytest.approx(43 / 46.841459, abs=1e-6)
    assert high == 1.0


def test_wilson_is_that_of_scipy() -> None:
    for k, n in ((0, 30), (29, 30), (970, 1000)):
        theirs = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
        assert wilson_interval(k / n, n) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_no_rows_and_no_mean_have_no_interval() -> None:
    low, high = wilson_interval([0.5, np.nan, 0.5], [0, 10, 10])
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True, True, False]


@EACH_P
@pytest.mark.parametrize("n", [30, 100, 1000])
def test_wilson_covers_independent_rows(P: float, n: int) -> None:
    k = np.arange(n + 1)
    low, high = wilson_interval(k / n, n)
    exact = stats.binom.pmf(k, n, P)[(low <= P) & (high >= P)].sum()
    assert 0.92 <= exact <= 0.975  # .9206 at P = .99 with 100 rows, .9742 at .9 with 30: few counts are possible


@EACH_P
@pytest.mark.parametrize(
    "counts",
    [[8] * 4, [4] * 8, [10] * 10, [1] * 30, [16] * 64, [*range(1, 21)], [*range(1, 21)] * 3],
    ids=["4x8", "8x4", "10x10", "30x1", "64x16", "20x1..20", "60x1..20"],
)
def test_it_covers_independent_rows_in_lives(P: float, counts: list[int]) -> None:
    n = np.array(counts)
    exact = covered(P, *interval_over_lives(successes(P, n, 0.0, seed=1), n))
    error = np.sqrt(0.95 * 0.05 / TIMES)
    assert 0.93 - 3 * error <= exact <= 0.985 + 3 * error


@EACH_P
@pytest.mark.parametrize("counts", [[8] * 4, [4] * 8, [20] * 5, [5] * 20, [16] * 64, [10] * 100])
def test_it_covers_rows_that_depend_on_their_life(P: float, counts: list[int]) -> None:
    n = np.array(counts)
    scores = successes(P, n, 0.1, seed=2)
    error = np.sqrt(0.95 * 0.05 / TIMES)
    low = 0.9 if P > 0.98 else 0.93  # at .99 most lives are perfect and few fail often
    exact = covered(P, *interval_over_lives(scores, n))
    assert low - 3 * error <= exact <= 0.992 + 3 * error
    naive = covered(P, *wilson_interval(scores.sum(0) / n.sum(), n.sum()))
    assert naive < exact
    if max(counts) >= 16 and P < 0.95:
        assert naive < 0.87  # what the number of rows alone would say


def test_what_no_life_has_shown_is_not_covered() -> None:
    n = np.full(20, 50)
    exact = covered(0.99, *interval_over_lives(successes(0.99, n, 0.1, seed=3), n))
    assert exact == pytest.approx(0.84, abs=0.02)  # the docstring says so


def test_the_effective_count_by_hand() -> None:
    # Lives with 4 of 4 and 0 of 4: p = .5, residuals 2 and -2, variance (4 + 4) / 64 * 2 / 1 = .25, so p (1 - p) / var
    # is one row; t_1 = 12.7062 takes (1.95996 / 12.7062)² of it.
    sums, counts = np.array([4.0, 0.0]), np.array([4.0, 4.0])
    assert few_lives(2) == pytest.approx((1.959964 / 12.706205) ** 2, rel=1e-6)
    assert effective_count(sums, counts) == pytest.approx(few_lives(2))
    # Three lives with 3, 2 and 1 of 4: residuals 1, 0, -1, variance 2 / 144 * 3 / 2 = 1 / 48: all of the 12 rows
    three = effective_count(np.array([3.0, 2.0, 1.0]), np.full(3, 4.0))
    assert three == pytest.approx(12 * (1.959964 / 4.302653) ** 2, rel=1e-6)


def test_where_no_variance_is_seen_all_rows_count() -> None:
    counts = np.array([4.0, 4.0, 2.0])
    assert effective_count(counts, counts) == 10  # p = 1
    assert effective_count(0 * counts, counts) == 10  # p = 0
    assert effective_count(counts, counts, counts * [1.0, 0.9, 1.2]) == 10  # p = 1, though more was expected of some
    assert effective_count(counts / 2, counts) == 10  # all lives alike
    assert effective_count(np.array([3.0, 0.0]), np.array([10.0, 0.0])) == 10  # one life with rows
    assert effective_count(np.zeros(2), np.zeros(2)) == 0
    assert np.isnan(few_lives(1))


def test_rows_with_other_expectations_count_more() -> None:
    # Half of the rows are surely 1 and half surely 0: lives with other shares differ, yet nothing is uncertain.
    counts, sums = np.full(20, 10.0), np.tile([8.0, 2.0], 10)
    assert effective_count(sums, counts, sums) == 200
    expected = sums + np.tile([1.0, 0.0, -1.0, 0.0], 5)
    # residuals: 10 of ±1, variance 10 / 200² * 20 / 19, and p (1 - p) = .25: 950 rows
    assert effective_count(sums, counts, expected) == pytest.approx(950 * few_lives(20))
    assert effective_count(sums, counts) < 100


def test_one_stratum_is_wilson() -> None:
    sums, counts = np.array([[9.0], [10.0], [7.0], [10.0]]), np.full((4, 1), 10.0)
    ends = weighted_interval(np.array([2.0]), sums, counts)
    plain = wilson_interval(0.9, effective_count(sums, counts)[0])
    assert ends == (pytest.approx(2 * plain[0]), pytest.approx(2 * plain[1]))


def test_the_strata_of_one_life_by_hand() -> None:
    # Means of .5 from 10 rows and 1 from 1000, weighted equally: p = .75, variance (.25 / 10 + 0) / 4 = 1 / 160, and
    # p (1 - p) = .1875 is worth 30 rows. As many as if the means were equal: 4 / (1 / 10 + 1 / 1000) = 39.6.
    ends = weighted_interval(np.array([0.5, 0.5]), np.array([[5.0, 1000.0]]), np.array([[10.0, 1000.0]]))
    assert ends == pytest.approx([float(end) for end in wilson_interval(0.75, 30)])


def test_scores_between_0_and_1_that_are_all_alike_are_certain() -> None:
    sums, counts = np.full((5, 2), 6.0), np.full((5, 2), 10.0)
    assert weighted_interval(np.full(2, 0.5), sums, counts, binary=False) == pytest.approx((0.6, 0.6))
    low, high = weighted_interval(np.full(2, 0.5), sums, counts)
    assert (low, high) == pytest.approx([float(end) for end in wilson_interval(0.6, 100)])  # 6 of 10 in each life


def test_all_right_is_as_many_equal_rows_whatever_was_expected() -> None:
    ones = np.full((4, 3), 10.0)
    ends = weighted_interval(np.full(3, 1 / 3), ones, ones, ones * [0.9, 1.0, 1.1], binary=False)
    assert ends == weighted_interval(np.full(3, 1 / 3), ones, ones)
    assert ends[0] == pytest.approx(120 / (120 + stats.norm.ppf(0.975) ** 2))


def test_equal_strata_are_one_with_all_rows() -> None:
    ends = weighted_interval(np.full(3, 1 / 3), np.full((1, 3), 10.0), np.full((1, 3), 10.0))
    assert ends == (pytest.approx(30 / (30 + stats.norm.ppf(0.975) ** 2)), pytest.approx(1.0))


@EACH_P
@pytest.mark.parametrize("correlation", [0.0, 0.1])
def test_a_mean_over_strata_is_covered(P: float, correlation: float) -> None:
    """The area: strata (lag bins) of 2 to 64 rows a life count equally."""
    counts = np.tile(np.array([2, 4, 8, 16, 32]), (16, 1))
    random, inside, times = np.random.default_rng(4), 0, 1500
    size = (1 - correlation) / correlation if correlation else np.inf
    own = random.beta(P * size, (1 - P) * size, size=(times, 16, 1)) if correlation else np.full((times, 16, 1), P)
    sums = random.binomial(counts, np.broadcast_to(own, (times, *counts.shape))).astype(np.float64)
    for one in sums:
        low, high = weighted_interval(np.full(5, 0.2), one, counts.astype(np.float64))
        inside += low <= P <= high
    error = np.sqrt(0.95 * 0.05 / times)
    least = 0.89 if correlation and P > 0.95 else 0.93  # lives that fail are rare among 16
    assert least - 3 * error <= inside / times <= 0.98 + 3 * error
