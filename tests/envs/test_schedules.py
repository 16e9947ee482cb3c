import math
from collections.abc import Callable

import numpy as np
import pytest

from lifelong.envs.composed_schedules import Held, bind_tasks
from lifelong.envs.parse import SCHEDULES, parse_schedule
from lifelong.envs.rng import Purpose, uniform
from lifelong.envs.schedules import (
    Block,
    Cyclic,
    History,
    Interleaved,
    Novelty,
    RandomHazard,
    Redrawn,
    Schedule,
    SpacedLags,
    Sweep,
    Walk,
)


def sequence(schedule: Schedule, tasks: int, episodes: int, seed: int = 0) -> list[int]:
    """Return the tasks of one life."""
    return lives(schedule, tasks, episodes, 1, seed)[0].tolist()


def lives(schedule: Schedule, tasks: int, episodes: int, n: int, seed: int = 0) -> np.ndarray:
    met, meetings = np.full((n, tasks), -1), np.zeros((n, tasks), np.int64)
    task, everyone = np.full(n, -1), np.arange(n)
    sequence = []
    for episode in range(episodes):
        history = History(np.full(n, episode), task, met.copy(), meetings.copy())
        task = schedule.next(history, lambda i, e=episode: uniform(seed, Purpose.SCHEDULE, everyone, e, i))
        met[everyone, task] = episode
        meetings[everyone, task] += 1
        sequence.append(task)
    return np.array(sequence).T


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Block(2), [0, 0, 1, 1, 2, 2, 2, 2]),
        (Cyclic(1), [0, 1, 2, 0, 1, 2, 0, 1]),
        (Cyclic(2), [0, 0, 1, 1, 2, 2, 0, 0]),
        (Sweep(3), [0, 1, 2, 2, 1, 0, 0, 1]),
        (Sweep(4), [0, 0, 1, 2, 2, 1, 0, 0]),
    ],
)
def test_fixed_schedules_go_through_the_tasks_in_order(schedule: Schedule, expected: list[int]) -> None:
    assert sequence(schedule, 3, 8) == expected


def test_redrawn_keeps_the_task_for_a_block_and_draws_all_alike() -> None:
    blocks = lives(Redrawn(4), 3, 400, 20).reshape(20, 100, 4)
    assert (blocks == blocks[..., :1]).all()
    assert np.abs(np.bincount(blocks[..., 0].ravel()) / 2000 - 1 / 3).max() < 0.04
    assert abs((blocks[:, 1:, 0] == blocks[:, :-1, 0]).mean() - 1 / 3) < 0.04


@pytest.mark.parametrize("hazard", [0.0, 0.1, 1.0])
def test_a_hazard_changes_the_task_as_often_as_it_says(hazard: float) -> None:
    tasks = lives(RandomHazard(hazard), 4, 500, 20)
    assert abs((tasks[:, 1:] != tasks[:, :-1]).mean() - hazard) < 0.01
    assert set(tasks[:, 0]) == {0, 1, 2, 3}
    if hazard:
        assert np.abs(np.bincount(tasks.ravel()) / tasks.size - 0.25).max() < 0.05


def test_a_hazard_with_one_task_has_nowhere_to_go() -> None:
    assert sequence(RandomHazard(1.0), 1, 5) == [0] * 5


@pytest.mark.parametrize("episodes", [12, 60])
def test_a_sweep_gives_every_task_its_share(episodes: int) -> None:
    tasks = np.array(sequence(Sweep(episodes), 6, 4 * episodes))
    assert (np.bincount(tasks) == 4 * episodes / 6).all()
    assert set(np.abs(np.diff(tasks))) == {0, 1}
    assert np.array_equal(tasks[: 2 * episodes], tasks[: 2 * episodes][::-1])


@pytest.mark.parametrize(("pull", "expected"), [(0.0, [1, 1, 1, 1, 1]), (1.0, [1, 4, 6, 4, 1])])
def test_a_walk_is_where_it_should_be_in_the_long_run(pull: float, expected: list[int]) -> None:
    tasks = lives(Walk(0.5, pull), 5, 600, 100)
    assert set(np.abs(np.diff(tasks)).ravel()) == {0, 1}
    assert np.abs(np.bincount(tasks[:, 0], minlength=5) / 100 - 0.2).max() < 0.12
    share = np.bincount(tasks[:, 100:].ravel()) / tasks[:, 100:].size
    assert np.abs(share - np.array(expected) / sum(expected)).max() < 0.015


def test_a_walk_takes_a_step_as_often_as_it_says() -> None:
    tasks = lives(Walk(0.2, 1.0), 9, 500, 40)  # with a pull of 1 no step is lost at an end
    assert abs((np.diff(tasks) != 0).mean() - 0.2) < 0.01
    assert sequence(Walk(1.0), 1, 4) == [0] * 4


def test_what_was_pulled_away_comes_back_at_the_rate_it_says() -> None:
    tasks, rate = 21, 0.5
    history = History(np.ones(4000, int), np.full(4000, 20), np.zeros((4000, tasks), int), np.ones((4000, tasks), int))
    x = np.full(4000, 20)
    for episode in range(40):
        history = History(history.episode, x, history.met, history.meetings)
        x = Walk(rate, 1.0).next(history, lambda i, e=episode: uniform(1, Purpose.SCHEDULE, np.arange(4000), e, i))
    assert abs((x.mean() - 10) / 10 - (1 - 2 * rate / (tasks - 1)) ** 40) < 0.02


@pytest.mark.parametrize("novelty", [0.0, 0.1, 1.0])
def test_novelty_comes_in_order_and_as_often_as_it_says(novelty: float) -> None:
    tasks = lives(Novelty(novelty), 400, 200, 40)
    best = np.maximum.accumulate(tasks, axis=1)
    assert (tasks[:, 0] == 0).all()
    new = np.diff(best)
    assert set(new.ravel()) <= {0, 1}
    assert abs(new.mean() - novelty) < 0.01


def test_what_was_met_comes_back_all_alike_and_nothing_new_when_all_was() -> None:
    tasks = lives(Novelty(1.0), 4, 1000, 20)
    assert (tasks[:, :4] == np.arange(4)).all()
    assert np.abs(np.bincount(tasks[:, 4:].ravel()) / tasks[:, 4:].size - 0.25).max() < 0.015


@pytest.mark.parametrize(
    ("held", "same"),
    [
        (Held(Cyclic(1), 5), Cyclic(5)),
        (Held(Cyclic(2), 3), Cyclic(6)),
        (Held(Block(3), 2), Block(6)),
        (Held(Redrawn(1), 4), Redrawn(4)),
        (Held(Held(Block(1), 2), 3), Block(6)),
        (Held(Interleaved(1.0, 1), 1), Interleaved(1.0, 1)),
    ],
)
def test_held_is_the_same_in_slower_time(held: Schedule, same: Schedule) -> None:
    assert np.array_equal(lives(held, 4, 60, 3), lives(same, 4, 60, 3))


def test_held_lags_are_exact_in_visits() -> None:
    tasks = np.array(sequence(Held(SpacedLags(8), 3), 4, 240)).reshape(80, 3)
    assert (tasks == tasks[:, :1]).all()
    for probe in (2, 3):
        lags = np.diff(np.flatnonzero(tasks[:, 0] == probe))
        assert np.array_equal(lags, np.resize([1, 2, 4, 8], lags.size))


@pytest.mark.parametrize("zipf", [0.0, 1.0])
def test_interleaved_meets_tasks_by_their_weights(zipf: float) -> None:
    weights = np.arange(1, 6) ** -zipf
    tasks = lives(Interleaved(zipf), 5, 1000, 10)
    assert np.abs(np.bincount(tasks.ravel()) / tasks.size - weights / weights.sum()).max() < 0.015


@pytest.mark.parametrize("gap", [1, 3])
def test_a_gap_keeps_a_task_away_and_favours_nobody(gap: int) -> None:
    tasks = lives(Interleaved(gap=gap), 5, 1000, 30)
    for apart in range(1, gap + 1):
        assert (tasks[:, apart:] != tasks[:, :-apart]).all()
    assert (tasks[:, gap + 1 :] == tasks[:, : -gap - 1]).any()
    assert np.abs(np.bincount(tasks.ravel()) / tasks.size - 0.2).max() < 0.015


def test_a_growing_life_begins_with_two_tasks_and_ends_with_all() -> None:
    tasks = lives(Interleaved(gap=1, grow=5), 4, 200, 20)
    assert [set(tasks[:, e : e + 5].ravel()) for e in (0, 5, 10, 15)] == [{0, 1}, {0, 1, 2}, {0, 1, 2, 3}, {0, 1, 2, 3}]
    assert (tasks[:, 1:] != tasks[:, :-1]).all()


def test_a_gap_wider_than_the_tasks_are_many_is_given_up() -> None:
    assert sequence(Interleaved(gap=2), 1, 4) == [0] * 4


@pytest.mark.parametrize(("longest", "tasks", "episodes"), [(8, 4, 60), (64, 16, 400), (1024, 64, 4200)])
def test_spaced_probes_come_back_after_exactly_their_lags(longest: int, tasks: int, episodes: int) -> None:
    life = np.array(sequence(SpacedLags(longest), tasks, episodes))
    grid = 2 ** np.arange(longest.bit_length())
    for probe in range(tasks // 2, tasks):
        lags = np.diff(np.flatnonzero(life == probe))
        assert lags.size > len(grid)
        assert np.array_equal(lags, np.resize(grid, lags.size))


def test_spaced_fillers_are_all_met() -> None:
    assert set(sequence(SpacedLags(64), 8, 300)) == set(range(8))
    assert sequence(SpacedLags(4), 1, 3) == [0, 0, 0]


def test_a_crowded_grid_is_late_but_meets_everyone() -> None:
    life = np.array(sequence(SpacedLags(4), 12, 200))
    assert all((np.diff(np.flatnonzero(life == probe)) >= 1).all() and (life == probe).any() for probe in range(6, 12))


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("interleaved", Interleaved()),
        ("interleaved:zipf=1.0", Interleaved(1.0)),
        ("interleaved:1", Interleaved(1.0)),
        ("block:episodes=20", Block(20)),
        ("redrawn:20", Redrawn(20)),
        ("hazard:0.05", RandomHazard(0.05)),
        ("cyclic:5", Cyclic(5)),
        ("novelty:0.2", Novelty(0.2)),
        ("sweep:300", Sweep(300)),
        ("walk:0.5,pull=1", Walk(0.5, 1.0)),
        ("walk:1 every 20", Held(Walk(1.0), 20)),
        ("block:2 every 3 every 4", Held(Held(Block(2), 3), 4)),
        ("spaced", SpacedLags()),
        (" spaced:longest=1024", SpacedLags(1024)),
    ],
)
def test_a_schedule_is_read_from_text(text: str, schedule: Schedule) -> None:
    assert parse_schedule(text) == schedule
    assert hash(parse_schedule(text)) == hash(schedule)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blok:3", "did you mean 'block'.*block:episodes=N.*cyclic.*hazard.*interleaved:zipf=0.0"),
        ("", "no schedule ''"),
        ("block", "needs episodes; write block:episodes=N"),
        ("block:x=3", "cannot place 'x=3'; write block:episodes=N"),
        ("block:1,2", "cannot place '2'"),
        ("block:1,episodes=2", "cannot place 'episodes=2'"),
        ("block:2.5", "episodes must be an integer, got '2.5'"),
        ("hazard:often", "hazard must be a number, got 'often'"),
        ("hazard:2", r"hazard must lie in \[0, 1\]"),
        ("walk:0.5,2", r"pull must lie in \[0, 1\]: pull=2"),
        ("walk:1 every day", "every must be followed by an integer, got 'day'"),
        ("walk:1 every 0", "episodes must be positive: episodes=0"),
        ("cyclic:0", "episodes=0"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_is(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_schedule(text)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Block(0),
        lambda: Block(2.5),  # type: ignore[arg-type]
        lambda: Cyclic(-1),
        lambda: Cyclic(math.nan),  # type: ignore[arg-type]
        lambda: Redrawn(0),
        lambda: SpacedLags(0),
        lambda: RandomHazard(-0.1),
        lambda: Interleaved(zipf=math.nan),
        lambda: Interleaved(zipf=math.inf),
    ],
)
def test_numbers_that_make_no_schedule_are_refused(wrong: Callable[[], Schedule]) -> None:
    with pytest.raises(ValueError, match="must"):
        wrong()


def test_every_schedule_keeps_to_the_tasks() -> None:
    for name in SCHEDULES:
        schedule = bind_tasks(parse_schedule(f"{name}:{0 if name == 'order' else 1}"), ["only"])
        for tasks in (1, 2, 7):
            assert np.isin(lives(schedule, tasks, 30, 4), np.arange(tasks)).all()


@pytest.mark.parametrize(
    ("zipf", "gap", "grow", "tasks"),
    [(0.0, 0, 0, 5), (1.0, 1, 0, 16), (0.5, 3, 4, 8), (2.0, 40, 0, 6), (0.0, 1, 0, 1)],
)
def test_interleaved_is_what_whole_arrays_say(zipf: float, gap: int, grow: int, tasks: int) -> None:
    rng = np.random.default_rng(0)
    episode, drawn = rng.integers(0, 60, 3000), rng.random(3000)
    met = np.minimum(rng.integers(-1, 60, (3000, tasks)), episode[:, None] - 1)
    weights = np.broadcast_to(np.arange(1, tasks + 1) ** -zipf, met.shape)
    if grow:
        weights = weights * (np.arange(tasks) < 2 + episode[:, None] // grow)
    usual = np.where((met < 0) | (met < episode[:, None] - gap), weights, 0.0)
    edges = np.cumsum(np.where(usual.any(1, keepdims=True), usual, weights), axis=1)
    expected = (edges <= drawn[:, None] * edges[:, -1:]).sum(1)
    history = History(episode, met.argmax(1), met, np.zeros_like(met))
    np.testing.assert_array_equal(Interleaved(zipf, gap, grow).next(history, lambda i: drawn), expected)
