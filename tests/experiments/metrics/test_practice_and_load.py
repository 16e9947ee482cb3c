"""Practice and load: a memory that stores half of what it meets is flat over lag at equal practice."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.experiments.metrics.practice_and_load import PRACTICE, by_practice, retention_surface
from lifelong.experiments.metrics.recall import recall_curve
from lifelong.experiments.metrics.rows import Rows


def stored_by_half(lives: int = 400, cues: int = 24, episodes: int = 240) -> Rows:
    """Return rows of lives that store a cue's answer with probability 1/2 at each meeting, for ever; chance is 0."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, cues + 1)
    everyone = np.arange(lives)
    met, meetings, stored = (np.full((lives, cues), fill) for fill in (-1, 0, 0))
    rows: list[dict[str, NDArray[np.generic]]] = []
    for episode in range(episodes):
        cue = rng.choice(cues, p=weights / weights.sum(), size=lives)
        here = everyone, cue
        before = met[here] >= 0
        load = np.where(before, (met > met[here][:, None]).sum(1), -1)
        rows.append({
            "life": everyone, "lag_episodes": np.where(before, episode - met[here], -1), "load": load,
            "meetings": meetings[here].copy(), "success": stored[here].astype(np.float32),
        })  # fmt: skip
        stored[here] |= rng.random(lives) < 0.5
        met[here], meetings[here] = episode, meetings[here] + 1
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


ROWS = stored_by_half()


def test_equal_practice_is_flat_where_the_pooled_curve_falls() -> None:
    pooled = np.array(recall_curve(ROWS, 0.0).rho)
    assert pooled[0] - pooled[6] > 0.15  # rare cues have long lags, and were met less often
    curves = by_practice(ROWS, lambda chosen: recall_curve(ROWS, 0.0, where=chosen))
    assert list(curves) == list(PRACTICE)
    for name, known in zip(PRACTICE[:2], (1 / 2, 3 / 4), strict=True):  # 1 - 2^-meetings
        curve = curves[name]
        thick = np.array(curve.count) >= 300
        assert np.abs(np.array(curve.rho)[thick] - known).max() < 4 * np.sqrt(0.25 / 300)


def test_the_surface_counts_each_row_once_and_knows_where_nothing_can_be() -> None:
    surface = retention_surface(ROWS, lambda chosen: recall_curve(ROWS, 0.0, where=chosen))
    assert surface.load[:4] == ("0", "1", "2-3", "4-7")
    assert surface.lag[:4] == ("1", "2-3", "4-7", "8-15")
    assert surface.count.sum() == (ROWS["lag_episodes"] >= 1).sum()
    assert surface.count[0, 0] == (ROWS["lag_episodes"] == 1).sum()  # the episode before: nothing came between
    for load in range(2, len(surface.load)):  # 2^(load - 1) tasks take as many episodes
        assert surface.count[load, : load - 1].sum() == 0
    chosen = (ROWS["load"] >= 2) & (ROWS["load"] <= 3) & (ROWS["lag_episodes"] >= 4) & (ROWS["lag_episodes"] <= 7)
    assert surface.rho[2, 2] == pytest.approx(ROWS["success"][chosen].mean())


def test_no_rows_make_an_empty_surface() -> None:
    nothing = {name: column[:0] for name, column in ROWS.items()}
    surface = retention_surface(nothing, lambda chosen: recall_curve(nothing, 0.0, where=chosen))
    assert surface.rho.shape == (0, 0)


def test_strata_by_hand() -> None:
    rows = {"meetings": np.arange(12), "lag_episodes": np.full(12, 1), "success": np.ones(12), "life": np.arange(12)}
    curves = by_practice(rows, lambda chosen: recall_curve(rows, 0.25, where=chosen, minimum=1))
    assert {name: curve.count[0] for name, curve in curves.items()} == dict(zip(PRACTICE, (1, 1, 2, 4, 3), strict=True))
    few = {name: column[:3] for name, column in rows.items()}
    assert list(by_practice(few, lambda chosen: recall_curve(few, 0.25, where=chosen))) == ["1", "2"]


def test_the_surface_by_hand() -> None:
    load, lag = np.repeat([0, 1, 3, 4], 40), np.repeat([1, 2, 4, 20], 40)
    success = np.concatenate([np.ones(80), np.zeros(80)])
    rows = {"load": load, "lag_episodes": lag, "success": success, "life": np.arange(160)}
    surface = retention_surface(rows, lambda chosen: recall_curve(rows, 0.25, where=chosen))
    assert surface.load == ("0", "1", "2-3", "4-7")
    assert surface.lag == ("1", "2-3", "4-7", "8-15", "16-31")
    assert surface.count.tolist() == [[40, 0, 0, 0, 0], [0, 40, 0, 0, 0], [0, 0, 40, 0, 0], [0, 0, 0, 0, 40]]
    there = [surface.rho[place] for place in ((0, 0), (1, 1), (2, 2), (3, 4))]
    assert there == pytest.approx([1, 1, -1 / 3, -1 / 3])
    assert np.isnan(surface.rho).sum() == 16


def test_a_cache_fails_by_lag_and_not_by_load(simulate: Callable[..., Rows]) -> None:
    rows = simulate("cache", lives=400)
    surface = retention_surface(rows, lambda chosen: recall_curve(rows, 0.25, where=chosen))
    assert np.nanmin(surface.rho[:, :4]) == 1.0  # lags to 15, at any load
    assert np.nanmax(surface.rho[:, 5:]) < 0.3


def test_never_met_has_no_place() -> None:
    rows = {"load": np.array([-1, -1]), "lag_episodes": np.array([-1, -1]), "success": np.ones(2), "life": np.zeros(2)}
    surface = retention_surface(rows, lambda chosen: recall_curve(rows, 0.25, where=chosen))
    assert surface.load == surface.lag == ()
