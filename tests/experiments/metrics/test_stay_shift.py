"""Stay after reward minus stay after none: a diagnostic of cued recall where only the reward tells."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.experiments.metrics.rows import lag_bins
from lifelong.experiments.metrics.stay_shift import stay_shift

Rows = dict[str, NDArray[Any]]


@pytest.mark.parametrize("kind", ["constant", "habit"])
def test_habits_stay_always(rows_of: Callable[..., Rows], kind: str) -> None:
    found = stay_shift(rows_of(kind, "reward"))
    assert (found[~np.isnan(found)] == 0).all()
    assert (~np.isnan(found)).sum() >= 7


def test_random_answers_stay_by_chance(rows_of: Callable[..., Rows]) -> None:
    rows = rows_of("random", "reward")
    found = stay_shift(rows)
    met = lag_bins(rows["lag_episodes"][rows["lag_episodes"] >= 1])
    smaller = np.bincount(met, minlength=found.size) / 4  # the group that was rewarded
    error = np.sqrt(2 * 0.1875 / np.maximum(smaller, 1))
    assert (np.abs(found) <= 4 * error)[~np.isnan(found)].all()


def test_a_perfect_memory_stays_where_it_was_rewarded(rows_of: Callable[..., Rows]) -> None:
    found = stay_shift(rows_of("perfect", "reward"))
    assert (found[~np.isnan(found)] == 1).all()


def test_the_share_by_hand() -> None:
    # Five tasks at lag 5: three were rewarded, of which one changed its answer; two were not, of which one stayed.
    rows = {"life": np.zeros(10, np.int64), "task": np.tile(np.arange(5), 2), "episode": np.arange(10)}
    rows |= {"lag_episodes": np.repeat([-1, 5], 5), "answer": np.array([0, 0, 0, 0, 0, 0, 0, 1, 0, 1])}
    rows |= {"success": np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], np.float32)}
    assert stay_shift(rows, minimum=2) == pytest.approx([np.nan, np.nan, 2 / 3 - 1 / 2], nan_ok=True)
    assert np.isnan(stay_shift(rows, minimum=3)).all()  # two in the smaller group
    rows["answer"][9] = -1  # no answer says nothing
    assert np.isnan(stay_shift(rows, minimum=2)).all()


def test_rows_whose_last_meeting_is_missing_do_not_count(simulate: Callable[..., Rows]) -> None:
    rows = simulate("perfect", "reward", lives=50, episodes=200)
    here = np.random.default_rng(1).random(rows["life"].size) < 0.5
    found = stay_shift({name: column[here] for name, column in rows.items()})
    assert (found[~np.isnan(found)] == 1).all()
    assert stay_shift({name: column[:0] for name, column in rows.items()}).size == 0
