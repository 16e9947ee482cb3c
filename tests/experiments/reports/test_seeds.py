"""Statistics over seeds, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from lifelong.experiments.reports.seeds import FEW, over_seeds

NAN = math.nan


@pytest.mark.parametrize(
    ("points", "mean", "reason"),
    [
        ([0.9], 0.9, "one seed: no interval"),
        ([0.9, 0.7], 0.8, "2 seeds: too few for an interval"),
        ([0.9, NAN, 0.8], NAN, "1 of 3 seeds have no value"),
        ([NAN, NAN], NAN, "no seed has a value"),
        ([NAN], NAN, "no seed has a value"),
        ([0.05, 0.95, 0.9, 0.1], 0.5, "2 of 4 seeds took off, the others stayed behind: no interval; IQM 0.500"),
        ([0.0, 0.8, 0.9, 0.95], 0.6625, "3 of 4 seeds took off, the others stayed behind: no interval; IQM 0.850"),
    ],
)
def test_no_interval_has_a_reason(points: list[float], mean: float, reason: str) -> None:
    found = over_seeds(points)
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert found.reason == reason
    assert (found.kind, math.isnan(found.low), math.isnan(found.high)) == ("", True, True)


def test_a_few_seeds_have_a_t_interval_cut_at_the_most_there_can_be() -> None:
    points = [0.962, 0.983, 0.996]
    half = 4.302653 * np.std(points, ddof=1) / math.sqrt(3)  # t of .975, two degrees of freedom
    free = over_seeds(points)
    assert (free.low, free.high) == pytest.approx((np.mean(points) - half, np.mean(points) + half), abs=1e-6)
    assert round(free.high, 3) == 1.023
    cut = over_seeds(points, 1.0)
    assert (cut.low, cut.high, cut.kind) == (pytest.approx(free.low), 1.0, "t")
    assert cut.label() == "0.980 (0.938 to 1.000)"
    assert cut.listed() == "0.962 0.983 0.996"


@pytest.mark.parametrize(
    "points", [[480.0, 481.0, 500.0], [-150.0, -151.0, -160.0], [203.1, 204.9, 209.0], [480.0, 485.0, 488.0, 500.0]]
)
def test_of_returns_nobody_knows_which_gap_parts_them(points: list[float]) -> None:
    assert over_seeds(points).kind == "t"


def test_differences_do_not_fall_in_groups() -> None:
    assert over_seeds([0.0, 0.8, 0.9]).kind == ""
    assert over_seeds([0.0, 0.8, 0.9], groups=False).kind == "t"


def test_a_cut_never_leaves_a_seed_out() -> None:
    assert over_seeds([0.9, 1.05, 1.0], 1.0).high == 1.05


def test_many_seeds_have_a_bootstrap_interval_and_no_list_of_points() -> None:
    points = np.random.default_rng(0).normal(0.7, 0.05, FEW).tolist()
    found = over_seeds(points)
    spread = np.std(points) / math.sqrt(FEW)
    assert found.kind == "bootstrap"
    assert found.low == pytest.approx(np.mean(points) - 1.96 * spread, abs=0.01)
    assert found.high == pytest.approx(np.mean(points) + 1.96 * spread, abs=0.01)
    assert found.listed() == f"{min(points):.3f} to {max(points):.3f}"
    assert over_seeds(points) == found, "the same seeds, the same interval"


def test_the_interval_is_of_seeds_and_not_of_lives() -> None:
    covered = 0
    for draw in range(400):
        points = np.random.default_rng(draw).normal(0.5, 0.05, 5).tolist()
        found = over_seeds(points)
        covered += found.low <= 0.5 <= found.high
    assert 0.93 <= covered / 400 <= 0.975


def test_points_without_a_value_are_shown_as_such() -> None:
    found = over_seeds([0.5, NAN, 0.25])
    assert found.listed() == "0.500 - 0.250"
    assert found.label() == "-"
