"""Strata of practice, and the surface over load and lag."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.metrics.practice_and_load import PRACTICE, by_practice, retention_surface
from lifelong.experiments.metrics.recall import recall_curve

Rows = dict[str, NDArray[Any]]


def measure_of(rows: Rows, minimum: int = 30) -> Callable[[NDArray[np.bool_]], RetentionCurve]:
    return lambda chosen: recall_curve(rows, 0.25, where=chosen, minimum=minimum)


def test_strata_by_hand() -> None:
    rows = {"meetings": np.arange(12), "lag_episodes": np.full(12, 1), "success": np.ones(12), "life": np.arange(12)}
    curves = by_practice(rows, measure_of(rows, minimum=1))
    assert {name: curve.count[0] for name, curve in curves.items()} == dict(zip(PRACTICE, (1, 1, 2, 4, 3), strict=True))
    few = {name: column[:3] for name, column in rows.items()}
    assert list(by_practice(few, measure_of(few))) == ["1", "2"]


def test_luck_at_storing_grows_with_practice_and_not_with_lag(simulate: Callable[..., Rows]) -> None:
    rows = simulate("lottery", lives=400)
    curves = by_practice(rows, measure_of(rows))
    areas = [curves[name].area for name in PRACTICE]
    assert areas[:2] == pytest.approx([0.5, 0.75], abs=0.03)  # 1 - 2^-meetings
    assert areas == sorted(areas)
    assert areas[-1] > 0.99


def test_the_surface_by_hand() -> None:
    load, lag = np.repeat([0, 1, 3, 4], 40), np.repeat([1, 2, 4, 20], 40)
    success = np.concatenate([np.ones(80), np.zeros(80)])
    rows = {"load": load, "lag_episodes": lag, "success": success, "life": np.arange(160)}
    surface = retention_surface(rows, measure_of(rows))
    assert surface.load == ("0", "1", "2-3", "4-7")
    assert surface.lag == ("1", "2-3", "4-7", "8-15", "16-31")
    assert surface.count.tolist() == [[40, 0, 0, 0, 0], [0, 40, 0, 0, 0], [0, 0, 40, 0, 0], [0, 0, 0, 0, 40]]
    there = [surface.rho[place] for place in ((0, 0), (1, 1), (2, 2), (3, 4))]
    assert there == pytest.approx([1, 1, -1 / 3, -1 / 3])
    assert np.isnan(surface.rho).sum() == 16


def test_a_cache_fails_by_lag_and_not_by_load(simulate: Callable[..., Rows]) -> None:
    rows = simulate("cache", lives=400)
    surface = retention_surface(rows, measure_of(rows))
    assert np.nanmin(surface.rho[:, :4]) == 1.0  # lags to 15, at any load
    assert np.nanmax(surface.rho[:, 5:]) < 0.3


def test_never_met_has_no_place() -> None:
    rows = {"load": np.array([-1, -1]), "lag_episodes": np.array([-1, -1]), "success": np.ones(2), "life": np.zeros(2)}
    surface = retention_surface(rows, measure_of(rows))
    assert surface.load == surface.lag == ()
    nothing = {name: column[:0] for name, column in rows.items()}
    assert retention_surface(nothing, measure_of(nothing)).rho.shape == (0, 0)
    assert math.isnan(measure_of(rows)(rows["load"] >= 0).area)
