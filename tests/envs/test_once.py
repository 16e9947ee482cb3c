"""Tasks that are met once and then never again."""

from typing import Any

import numpy as np
import pytest

from lifelong.envs import make_stream
from lifelong.envs.once import Once
from lifelong.envs.parse import parse_schedule


def tasks_of(schedule: str, cues: int, episodes: int, lives: int = 16) -> Any:
    """Return [episodes, lives] the tasks that are met."""
    stream = make_stream("cued-recall", lives, cues=cues, schedule=schedule, life_episodes=None, seed=5)
    stream.reset()
    met = []
    for _ in range(episodes):
        met.append(stream.task.copy())
        stream.step(np.zeros(lives, np.int64))
    return np.array(met)


def test_every_task_is_met_once_in_an_order_of_its_life() -> None:
    met = tasks_of("once", 24, 24)
    assert (np.sort(met, 0) == np.arange(24)[:, None]).all()
    assert len({tuple(order) for order in met.T.tolist()}) == 16


def test_the_order_is_balanced_over_tasks() -> None:
    first = tasks_of("once", 8, 1, 4000)[0]
    assert np.bincount(first) == pytest.approx(np.full(8, 500), abs=90)  # four standard deviations


def test_the_second_half_goes_on_as_distractors_and_the_first_half_is_never_met_again() -> None:
    met = tasks_of("once", 10, 40)
    assert (met[10:] >= 5).all()
    assert (np.sort(met[10:15], 0) == np.arange(5, 10)[:, None]).all()  # in turn
    assert (met[15:] == met[10:-5]).all()
    assert (met[1:] != met[:-1]).all()


def test_several_meetings_come_in_groups_of_four() -> None:
    met = tasks_of("once:meetings=3", 8, 24)
    for first in (0, 12):
        turns = met[first : first + 12].reshape(3, 4, -1)
        assert (turns == turns[0]).all()
    assert (np.sort(met[:24:12], 0) >= 0).all()
    assert all(np.bincount(order, minlength=8).tolist() == [3] * 8 for order in met.T)


def test_a_last_group_may_be_smaller() -> None:
    met = tasks_of("once:meetings=2", 6, 12)
    assert all(np.bincount(order, minlength=6).tolist() == [2] * 6 for order in met.T)


def test_it_is_written_as_other_schedules_are() -> None:
    assert parse_schedule("once") == Once(1)
    assert parse_schedule("once:meetings=2") == Once(2)
    with pytest.raises(ValueError, match="meetings must be positive: meetings=0"):
        parse_schedule("once:0")
