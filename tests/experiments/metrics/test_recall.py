"""Recall of policies whose memory is known: 0 without one, 1 with a perfect one, a cliff at a cache's length.

Tolerances are four standard errors, from the number of independent guesses behind each figure.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.envs.references.questions import cross_episode_policy, play
from lifelong.envs.streams.cued_recall import CuedRecall
from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.metrics.recall import recall_curve
from lifelong.experiments.metrics.rows import lag_bins

Rows = dict[str, NDArray[Any]]
RowsOf = Callable[..., Rows]
ANSWERS, CACHE = 4, 15
VARIANCE = (1 / ANSWERS) * (1 - 1 / ANSWERS)  # of one guess


def standard_errors(kind: str, rows: Rows, curve: RetentionCurve) -> NDArray[np.float64]:
    """Return that of rho in each bin, of a policy that guesses.

    A guess that is made once for a cue of a life and then kept counts once, however often it is given.
    """
    met = rows["lag_episodes"] >= 1
    guess = np.arange(met.size) if kind in ("random", "cache") else rows["life"] * 1000 + rows["task"]
    errors = []
    for number in range(len(curve.rho)):
        uses = np.unique(guess[met & (lag_bins(rows["lag_episodes"]) == number)], return_counts=True)[1]
        errors.append(math.sqrt(VARIANCE * (uses**2).sum()) / uses.sum() / (1 - 1 / ANSWERS))
    return np.array(errors)


@pytest.mark.parametrize("kind", ["constant", "random", "habit"])
def test_without_a_memory_recall_is_zero(rows_of: RowsOf, kind: str) -> None:
    rows = rows_of(kind)
    curve = recall_curve(rows, 1 / ANSWERS)
    rho, errors = np.array(curve.rho), standard_errors(kind, rows, curve)
    measured = ~np.isnan(rho)
    assert measured.sum() >= 7
    assert (np.abs(rho) <= 4 * errors)[measured].all(), curve.table()
    assert abs(curve.area) <= 4 * errors[measured].mean()  # as if all bins erred together
    assert curve.area_low <= 0 <= curve.area_high
    assert curve.half_life_label == "-"


def test_a_perfect_memory_retains_everything(rows_of: RowsOf) -> None:
    rows = rows_of("perfect")
    curve = recall_curve(rows, 1 / ANSWERS)
    measured = [k for k, rho in enumerate(curve.rho) if not math.isnan(rho)]
    assert [curve.rho[k] for k in measured] == [1.0] * len(measured)
    assert len(measured) >= 7
    assert [curve.area, curve.area_high] == pytest.approx([1.0, 1.0])
    assert 0.98 < curve.area_low < 1.0  # never "1.000 to 1.000"
    assert all(curve.low[k] < 1.0 for k in measured)
    assert curve.lived == rows["lag_episodes"].max()
    assert curve.half_life_label == f"> {curve.lived} (longest lag lived)"


def test_a_cache_falls_off_a_cliff_at_its_length(rows_of: RowsOf) -> None:
    rows = rows_of("cache")
    curve = recall_curve(rows, 1 / ANSWERS)
    inside = (CACHE + 1).bit_length() - 1
    assert curve.rho[:inside] == (1.0,) * inside
    beyond, errors = np.array(curve.rho[inside:]), standard_errors("cache", rows, curve)[inside:]
    assert (np.abs(beyond) <= 4 * errors)[~np.isnan(beyond)].all(), curve.table()
    assert math.isclose(curve.area, (inside + np.nansum(beyond)) / (inside + (~np.isnan(beyond)).sum()))


def test_the_cliff_is_exact_to_the_episode(simulate: RowsOf) -> None:
    rows = simulate("cache")
    last = recall_curve(rows, 1 / ANSWERS, where=rows["lag_episodes"] == CACHE)
    first = recall_curve(rows, 1 / ANSWERS, where=rows["lag_episodes"] == CACHE + 1)
    assert last.rho[-1] == 1.0
    assert abs(first.rho[-1]) <= 4 * math.sqrt(VARIANCE / first.count[-1]) / (1 - 1 / ANSWERS)


def test_what_is_stored_by_luck_is_flat_over_lag_at_equal_practice(simulate: RowsOf) -> None:
    rows = simulate("lottery", lives=400)
    first = recall_curve(rows, 1 / ANSWERS, where=rows["meetings"] == 1)
    known = np.array([not math.isnan(rho) for rho in first.rho])
    # Whether it was stored, and the guess if not, is drawn for each row anew: P = 1/2 + 1/8 at every lag.
    errors = math.sqrt(0.625 * 0.375) / np.sqrt(np.array(first.count)[known]) / 0.75
    assert known.sum() >= 7
    assert (np.abs(np.array(first.rho)[known] - 0.5) <= 4 * errors).all(), first.table()
    pooled = recall_curve(rows, 1 / ANSWERS)
    assert pooled.rho[0] > 0.85  # a cue that comes back at once has been met often,
    assert pooled.rho[7] < 0.75  # a rare one seldom: it looks like forgetting
    assert first.half_life.high == math.inf
    assert pooled.half_life.lag < pooled.lived


def test_intervals_are_as_wide_as_what_is_independent_makes_them(simulate: RowsOf) -> None:
    for kind in ("random", "habit"):
        rows = simulate(kind, lives=400, episodes=100)
        curve = recall_curve(rows, 1 / ANSWERS)
        width = (np.array(curve.high) - np.array(curve.low)) / (2 * 1.96)
        # a spread estimated from 400 lives is itself off by this share
        off = np.abs(width[:4] / standard_errors(kind, rows, curve)[:4] - 1)
        assert off.max() <= 4 * math.sqrt(1 / (2 * 400)), kind


def test_rows_that_do_not_tell_do_not_count(simulate: RowsOf) -> None:
    rows = simulate("cache", lives=20, episodes=100)
    untold = np.arange(rows["life"].size) % 3 == 0
    silent = rows | {"success": np.where(untold, np.nan, rows["success"])}
    assert recall_curve(silent, 1 / ANSWERS).to_json() == recall_curve(rows, 1 / ANSWERS, where=~untold).to_json()


def test_answers_that_changed_since_the_last_meeting_are_not_forgotten_ones() -> None:
    env = CuedRecall(64, cues=8, life_episodes=100, change_at=50)
    rows = play(env, cross_episode_policy, 200)
    curve = recall_curve(rows, 1 / ANSWERS)
    measured = [rho for rho in curve.rho if not math.isnan(rho)]
    assert measured == [1.0] * len(measured)
    assert len(measured) >= 4
    misled = (rows["old_answer"] >= 0) & (rows["lag_episodes"] > rows["since_change"])
    assert misled.sum() >= 400
    assert sum(curve.count) == ((rows["lag_episodes"] >= 1) & ~misled).sum()


def test_the_order_of_rows_does_not_matter(simulate: RowsOf) -> None:
    rows = simulate("cache", lives=20, episodes=100)
    order = np.random.default_rng(0).permutation(rows["life"].size)
    shuffled = {name: column[order] for name, column in rows.items()}
    assert recall_curve(shuffled, 1 / ANSWERS).to_json() == recall_curve(rows, 1 / ANSWERS).to_json()
