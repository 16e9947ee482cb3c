"""Lag bins, the last meeting of a task, the next episode, and runs joined with their lives apart."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.experiments.metrics.rows import (
    bin_edges,
    bin_label,
    join_runs,
    lag_bins,
    next_episode,
    previous_meeting,
)

Rows = dict[str, NDArray[Any]]


def shuffled(rows: Mapping[str, NDArray[Any]]) -> Rows:
    order = np.random.default_rng(0).permutation(rows["life"].size)
    return {name: column[order] for name, column in rows.items()}


def two_modes(rows: Rows, scale: int) -> Rows:
    """Return the rows twice, as of two modes, in any order, with lives and tasks of large numbers."""
    mode = np.repeat(np.array([0, 1], np.int8), rows["life"].size)
    rows = {name: np.tile(column, 2) for name, column in rows.items()} | {"mode": mode}
    return shuffled(rows | {"life": rows["life"] * scale, "task": rows["task"] * scale})


def test_lag_bins_double() -> None:
    lags = np.array([-1, 0, 1, 2, 3, 4, 7, 8, 2**40 - 1, 2**40])
    assert lag_bins(lags).tolist() == [-1, -1, 0, 1, 1, 2, 2, 3, 39, 40]
    assert [bin_edges(k) for k in range(3)] == [(1, 1), (2, 3), (4, 7)]
    assert [bin_label(k) for k in range(3)] == ["1", "2-3", "4-7"]
    assert lag_bins(np.array([], np.int64)).size == 0


@pytest.mark.parametrize("scale", [1, 2**30])
def test_previous_meetings_are_of_the_same_life_task_and_mode(simulate: Callable[..., Rows], scale: int) -> None:
    rows = two_modes(simulate("random", "reward", lives=5, episodes=64, cues=8), scale)  # at 2^30 no key of 63 bits
    where = {key: i for i, key in enumerate(zip(rows["mode"], rows["life"], rows["episode"], strict=True))}
    for i, before in enumerate(previous_meeting(rows)):
        lag = rows["lag_episodes"][i]
        met = lag >= 1 and where[rows["mode"][i], rows["life"][i], rows["episode"][i] - lag]
        assert before == (met if lag >= 1 else -1)
        assert lag < 1 or rows["task"][before] == rows["task"][i]


@pytest.mark.parametrize("scale", [1, 2**58])
def test_next_episodes_are_of_the_same_life_and_mode(simulate: Callable[..., Rows], scale: int) -> None:
    rows = simulate("random", lives=4, episodes=20, cues=4)
    here = rows["episode"] != 7  # one is missing: nothing follows the sixth
    rows = two_modes({name: column[here] for name, column in rows.items()}, scale)
    where = {key: i for i, key in enumerate(zip(rows["mode"], rows["life"], rows["episode"], strict=True))}
    found = [where.get((rows["mode"][i], rows["life"][i], rows["episode"][i] + 1), -1) for i in range(here.sum() * 2)]
    assert next_episode(rows).tolist() == found
    assert found.count(-1) == 2 * 4 * 2  # the last and the sixth of four lives in two modes


def test_modes_of_one_life_do_not_meet() -> None:
    two = {"life": np.zeros(3, np.int64), "task": np.zeros(3, np.int64), "mode": np.array([0, 0, 1])}
    two |= {"episode": np.array([0, 1, 0]), "lag_episodes": np.array([-1, 1, -1])}
    assert previous_meeting(two).tolist() == [-1, 0, -1]
    assert next_episode(two).tolist() == [1, -1, -1]


def test_a_meeting_that_is_not_in_the_table_is_none() -> None:
    rows = {"life": np.zeros(2, np.int64), "task": np.zeros(2, np.int64)}
    rows |= {"episode": np.array([3, 9]), "lag_episodes": np.array([3, 2])}  # met in 7 as well: 9 does not follow 3
    assert previous_meeting(rows).tolist() == [-1, -1]


def test_no_rows_have_no_neighbours() -> None:
    empty = {name: np.zeros(0, np.int64) for name in ("life", "episode", "task", "lag_episodes", "mode")}
    assert previous_meeting(empty).size == next_episode(empty).size == 0


def test_runs_are_joined_with_their_lives_apart(simulate: Callable[..., Rows]) -> None:
    runs = [simulate("random", "reward", seed=seed, lives=4, episodes=50) for seed in (1, 2, 3)]
    joined = join_runs(runs)
    assert np.unique(joined["life"]).tolist() == list(range(12))
    assert joined["return"].tolist() == [value for run in runs for value in run["return"].tolist()]
    assert runs[1]["life"].max() == 3  # they are left as they are
    before = [previous_meeting(run) for run in runs]
    assert (previous_meeting(joined) >= 0).sum() == sum((row >= 0).sum() for row in before)


def test_runs_share_the_columns_that_all_have() -> None:
    one, two = {"life": np.array([0, 5]), "mode": np.zeros(2)}, {"life": np.array([0])}
    joined = join_runs([one, {"life": np.zeros(0, np.int64)}, two])
    assert {name: column.tolist() for name, column in joined.items()} == {"life": [0, 5, 6]}
    assert join_runs([]) == {}
