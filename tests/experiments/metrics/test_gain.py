"""Gain of agents whose memory is known: what visits taught, what is there on return, and what is mere transfer."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.metrics.gain import gain_curve, moments, scores, task_gains, transfer_control
from lifelong.experiments.metrics.half_life import half_life

Rows = dict[str, NDArray[Any]]
Agent = Callable[[NDArray[Any], NDArray[Any], int, NDArray[Any]], NDArray[Any]]
"""From age [lives], lag in episodes (-1 if never met), index in the visit and task [lives] to expected scores."""

LATE = (0, 1, 0, 1, 2, 0, 3, 1, 2, 3, 4, 0, 5, 2, 4, 5, 6, 1, 3, 6, 7, 0, 5, 7, 2, 4, 6, 1, 3)
"""Tasks of successive visits; new ones come all along."""


def live(
    agent: Agent,
    order: Sequence[int],
    *,
    length: int = 5,
    lives: int = 40,
    noise: float = 0.05,
    seed: int = 0,
    renamed: bool = True,
) -> Rows:
    """Return the rows of lives that visit tasks in this order, each task renamed at random in each life."""
    random = np.random.default_rng(seed)
    tasks = max(order) + 1
    names = np.tile(np.arange(tasks), (lives, 1))
    names = random.permuted(names, axis=1) if renamed else names
    everyone, rows = np.arange(lives), []
    met, visits = np.full(tasks, -1), np.zeros(tasks, np.int64)
    for number, task in enumerate(order):
        for index in range(length):
            episode = number * length + index
            lag = -1 if met[task] < 0 else episode - met[task]
            this = names[:, task]
            expected = agent(np.full(lives, episode), np.full(lives, lag), index, this)
            row = {"life": everyone, "episode": np.full(lives, episode), "task": this}
            row |= {"lag_episodes": np.full(lives, lag), "index_in_visit": np.full(lives, index)}
            row |= {"visit": np.full(lives, visits[task]), "return": expected + random.normal(0, noise, lives)}
            rows.append(row)
            met[task] = episode
        visits[task] += 1
    table = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return table | {name: np.full(table["life"].size, math.nan) for name in ("normalised", "success")}


def normalised(rows: Rows) -> Rows:
    return rows | {"normalised": rows["return"]}


def rememberer(h: float, naive: float = 0.2, proficient: float = 0.9) -> Agent:
    """Learns a task in its first episode, and forgets what it learnt with half-life h."""

    def agent(age: NDArray[Any], lag: NDArray[Any], index: int, task: NDArray[Any]) -> NDArray[Any]:
        kept = np.where(lag < 0, 0.0, 2.0 ** (-np.maximum(lag, 0) / h))
        return naive + (proficient - naive) * (kept if index == 0 else 1.0)

    return agent


def slow_learner(age: NDArray[Any], lag: NDArray[Any], index: int, task: NDArray[Any]) -> NDArray[Any]:
    """Grows better at all tasks with age, and forgets at the end of a visit what the visit taught."""
    return 0.1 + 0.4 * age / 145 + 0.05 * task + 0.3 * (index > 0)


def both(age: NDArray[Any], lag: NDArray[Any], index: int, task: NDArray[Any]) -> NDArray[Any]:
    """Grows better at all tasks with age, and keeps what it learnt in a visit."""
    return 0.1 + 0.2 * age / 145 + 0.3 * ((index > 0) | (lag > 0))


def measured(curve: RetentionCurve, column: str = "rho") -> list[float]:
    return [value for value in getattr(curve, column) if not math.isnan(value)]


def test_moments_by_hand() -> None:
    # A life that visits task 7 twice, task 3 between, and is in its second episode of the last visit
    task, index = np.array([7, 7, 3, 7, 7]), np.array([0, 1, 0, 0, 1])
    rows = {"life": np.zeros(5, np.int64), "episode": np.arange(5), "task": task, "index_in_visit": index}
    rows |= {"lag_episodes": np.array([-1, 1, -1, 2, 1])}
    first, last, returned = moments(rows)
    assert first.tolist() == [True, False, True, False, False]
    assert last.tolist() == [False, True, True, False, True]  # of the unfinished visit the newest
    assert returned.tolist() == [False, False, False, True, False]
    order = np.array([3, 0, 4, 2, 1])
    again = moments({name: column[order] for name, column in rows.items()})
    assert [column.tolist() for column in again] == [column[order].tolist() for column in (first, last, returned)]


def test_the_first_episode_of_an_unfinished_visit_is_not_its_last() -> None:
    rows = {"life": np.zeros(2, np.int64), "episode": np.arange(2), "task": np.array([0, 1])}
    rows |= {"index_in_visit": np.zeros(2, np.int64), "lag_episodes": np.array([-1, -1])}
    assert moments(rows)[1].tolist() == [True, False]


def test_modes_of_one_life_end_apart() -> None:
    rows = {"life": np.zeros(5, np.int64), "mode": np.array([0, 0, 0, 1, 1]), "episode": np.array([0, 1, 2, 0, 1])}
    rows |= {"task": np.zeros(5, np.int64), "index_in_visit": np.array([0, 1, 2, 0, 1])}
    rows |= {"lag_episodes": np.array([-1, 1, 1, -1, 1])}
    assert moments(rows)[1].tolist() == [False, False, True, False, True]


def test_gain_by_hand() -> None:
    # Eight lives: task 0 is visited in episodes 0 to 1, 4 to 5 and 10 to 11 (lags 3 and 5), task 1 between.
    # n = .1, p = (.9 + .9 + .6) / 3 = .8, on return .5 at lags 2-3 and .3 at lags 4-7: rho = .4 / .7 and .2 / .7.
    order, length = (0, 1, 0, 1, 1, 0), 2
    score = {0: 0.1, 1: 0.9, 4: 0.5, 5: 0.9, 10: 0.3, 11: 0.6}
    task = np.repeat(order, length)
    episode = np.arange(task.size)
    one: dict[str, Any] = {"episode": episode, "task": task, "return": np.array([score.get(e, 0.5) for e in episode])}
    one |= {"lag_episodes": np.array([-1, 1, -1, 1, 3, 1, 3, 1, 1, 1, 5, 1])}
    one |= {"index_in_visit": np.array([0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 0, 1])}
    rows = {name: np.tile(column, 8) for name, column in one.items()} | {"life": np.repeat(np.arange(8), task.size)}
    rows |= {"normalised": rows["return"], "success": rows["return"] * math.nan}
    first, second = task_gains(rows, ["a"])
    assert (first.name, first.episodes, first.first, first.last) == ("a", 48, 0.1, pytest.approx(0.8))
    assert first.returned == pytest.approx((math.nan, 0.5, 0.3), nan_ok=True)
    assert first.count == (0, 8, 8)
    assert first.forgetting == pytest.approx(0.8 - 0.4)
    assert first.reason == ""
    assert second.name == "task 1"
    assert second.reason == "first meeting 0.50, end of visits 0.50: nothing was learnt in a visit"
    curve = gain_curve(rows, ["a"])
    assert curve.rho == pytest.approx((math.nan, 0.4 / 0.7, 0.2 / 0.7), nan_ok=True)
    assert curve.count == (0, 8, 8)
    assert curve.area == pytest.approx(0.3 / 0.7)
    assert curve.area_bins == (1, 2)
    assert curve.lived == 5
    assert gain_curve(rows, where=rows["lag_episodes"] == 5).rho == pytest.approx(
        (math.nan, math.nan, 0.2 / 0.7), nan_ok=True
    )


def test_tasks_count_equally() -> None:
    def agent(age: NDArray[Any], lag: NDArray[Any], index: int, task: NDArray[Any]) -> NDArray[Any]:
        kept = (lag > 0) * np.where(task == 0, 1.0, 0.0)  # task 0 is remembered, task 1 is not; it has twice the gain
        return np.where(task == 0, 0.4, 0.8) * (kept if index == 0 else 1.0)

    curve = gain_curve(normalised(live(agent, (0, 1) * 10, noise=0.0)))
    assert measured(curve) == pytest.approx([0.5] * len(measured(curve)))


def test_a_bin_is_the_mean_of_the_tasks_that_come_back_in_it() -> None:
    # Task 0 comes back at lag 3 and is remembered, task 1 at lag 7 and is not. Tasks 2 and 3 teach nothing; they come
    # back at lags 13 and 5.
    def agent(age: NDArray[Any], lag: NDArray[Any], index: int, task: NDArray[Any]) -> NDArray[Any]:
        return np.where(task >= 2, 0.5, np.where(task == 0, lag > 0, index > 0).astype(np.float64))

    order = (2, 1, 0, 3, 0, 1, 3, 2)
    curve = gain_curve(normalised(live(agent, order, length=2, noise=0.0, renamed=False)))
    assert curve.rho == pytest.approx((math.nan, 1.0, 0.0, math.nan), nan_ok=True)
    assert curve.count == (0, 40, 40, 0)
    assert curve.lived == 7


def test_a_correction_from_few_returns_is_none() -> None:
    # Two tasks come back after one visit, the second later than any task is first met: of 10 returns 5 are known
    rows = normalised(live(rememberer(20.0), (0, 1, 0, 2, 3, 2), lives=5))
    curve = gain_curve(rows)
    assert curve.count[2] == 10
    assert (~np.isnan(transfer_control(rows)))[moments(rows)[2]].sum() == 5
    assert curve.corrected == ()
    assert len(gain_curve(rows, minimum=5).corrected) == 3


@pytest.mark.parametrize("h", [8, 40, math.inf])
def test_a_forgetter_is_measured(h: float) -> None:
    rows = normalised(live(rememberer(h), LATE))
    curve = gain_curve(rows)
    returned = moments(rows)[2]
    for k, rho in enumerate(curve.rho):
        lags = rows["lag_episodes"][returned & (rows["lag_episodes"] >= 2**k) & (rows["lag_episodes"] < 2 ** (k + 1))]
        assert math.isnan(rho) or rho == pytest.approx(float((2.0 ** (-lags / h)).mean()), abs=0.05)
    assert len(measured(curve)) >= 4
    if h < math.inf:
        assert curve.half_life.lag == pytest.approx(h, rel=0.1)
    else:
        assert curve.half_life_label == f"> {curve.lived} (longest lag lived)"


def test_transfer_without_memory_is_corrected_away() -> None:
    rows = normalised(live(slow_learner, LATE, lives=200))
    curve = gain_curve(rows)
    assert min(measured(curve)[-3:]) > 0.2  # it comes back better than it began
    assert np.abs(measured(curve, "corrected")).max() <= 0.05
    control = transfer_control(rows)
    returned = moments(rows)[2] & ~np.isnan(control)
    first = np.zeros((200, 8))
    first[rows["life"][rows["lag_episodes"] < 0], rows["task"][rows["lag_episodes"] < 0]] = rows["episode"][
        rows["lag_episodes"] < 0
    ]
    # of a task: what age gives at the return, less what it gave at first meetings, on average over lives
    truth = 0.4 / 145 * (rows["episode"] - first.mean(0)[rows["task"]])
    assert np.abs(control - truth)[returned].max() <= 0.04
    assert np.abs((control - truth)[returned].mean()) <= 0.005


def test_a_real_memory_keeps_its_gain_after_the_correction() -> None:
    plain = gain_curve(normalised(live(rememberer(math.inf), LATE, lives=200)))
    assert measured(plain) == pytest.approx([1.0] * len(measured(plain)), abs=0.05)
    assert measured(plain, "corrected") == pytest.approx([1.0] * len(measured(plain, "corrected")), abs=0.05)
    grown = gain_curve(normalised(live(both, LATE, lives=200)))
    assert max(measured(grown)) > 1.1  # with transfer it is more than what visits taught, on average over a life
    assert min(measured(grown, "corrected")) > 0.6
    assert max(measured(grown, "corrected")) <= 1.05


def test_the_control_is_not_known_where_no_new_task_is_met_so_late() -> None:
    rows = normalised(live(slow_learner, (0, 1, 2, *[0, 1, 2] * 8)))
    control = transfer_control(rows)
    assert np.isnan(control[rows["episode"] > 20]).all()
    assert gain_curve(rows).corrected == ()
    alone = {name: column[rows["lag_episodes"] > 0] for name, column in rows.items()}
    assert np.isnan(transfer_control(alone)).all()


def test_a_control_extrapolated_from_noise_is_not_known() -> None:
    """Three blocks that all lives enter at about one age: nothing tells what age alone does between the blocks."""
    random, lives = np.random.default_rng(0), 64
    rows: list[Rows] = []
    for life in range(lives):
        ages = [0, *random.integers(95, 114, 1), *random.integers(574, 627, 1), 700]
        row = {"life": [life] * 4, "episode": ages, "task": [0, 1, 2, 0], "lag_episodes": [-1, -1, -1, 300]}
        rows.append({name: np.array(column) for name, column in row.items()})
    table = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    table["normalised"] = table["return"] = table["success"] = random.integers(0, 2, 4 * lives).astype(float)
    control = transfer_control(table)
    later = table["episode"] > 100
    assert np.isnan(control[later & (table["task"] == 0)]).all()
    within = control[(table["task"] == 1) & ~np.isnan(control)]
    assert np.abs(within).max(initial=0.0) <= 0.3  # of one block


def test_a_random_policy_has_no_curve_and_a_sentence() -> None:
    def agent(age: NDArray[Any], lag: NDArray[Any], index: int, task: NDArray[Any]) -> NDArray[Any]:
        return np.full(age.size, 0.1)

    times = 0
    for seed in range(20):
        curve = gain_curve(normalised(live(agent, (0, 1, 2, 3) * 3, lives=20, noise=0.3, seed=seed)), ["a", "b"])
        times += curve.measured
        if not curve.measured:
            assert curve.rho == ()
            assert curve.reason.startswith("nothing to remember: a: first meeting ")
            assert "nothing was learnt in a visit; b: " in curve.reason
            assert curve.reason.endswith("; 1 more")
    assert times <= 3  # Holm: one in twenty


def test_what_the_slow_weights_know_is_said() -> None:
    def agent(age: NDArray[Any], lag: NDArray[Any], index: int, task: NDArray[Any]) -> NDArray[Any]:
        return np.full(age.size, 0.97 + 0.01 * (index > 0))

    rows = live(agent, (0, 1) * 4, noise=0.001)
    assert task_gains(normalised(rows))[0].reason == (
        "first meeting 0.97, end of visits 0.98: the slow weights know it already"
    )
    # in raw returns a half is no threshold, and a twentieth is one of their range
    rows["return"] = rows["return"] * 100
    gains = task_gains(rows)
    assert gains[0].reason == ""
    wide = rows | {"return": np.where(np.arange(rows["life"].size) == 0, -1000.0, rows["return"])}
    assert task_gains(wide)[0].reason.endswith("nothing was learnt in a visit")


def test_one_life_says_nothing() -> None:
    curve = gain_curve(normalised(live(rememberer(math.inf), LATE, lives=1)))
    assert not curve.measured
    assert "in 1 of at least 3 lives" in curve.reason


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ((0, 1, 2, 3), "no task was met in a second visit"),
        ((0,), "nothing to remember: task 0: in 2 lives"),
    ],
)
def test_why_there_is_no_curve(order: tuple[int, ...], reason: str) -> None:
    lives = 40 if len(order) > 1 else 2
    curve = gain_curve(normalised(live(rememberer(10.0), order, lives=lives)))
    if lives == 40:
        assert curve.reason == reason
    else:
        assert curve.reason.endswith("in 2 of at least 3 lives")


def test_too_few_returns_make_no_bin() -> None:
    curve = gain_curve(normalised(live(rememberer(10.0), (0, 1, 0), lives=7)))
    assert curve.reason == "no lag bin has 8 returns, the fullest has 7"
    assert math.isnan(curve.area)
    assert all(map(math.isnan, curve.low))


def test_no_rows_have_no_gain() -> None:
    rows = {name: column[:0] for name, column in normalised(live(rememberer(10.0), (0, 1, 0))).items()}
    assert task_gains(rows) == []
    assert gain_curve(rows).reason == "no episode has ended"
    assert transfer_control(rows).size == 0


def test_other_numbers_of_tasks_and_lives_and_another_order_change_nothing() -> None:
    rows = normalised(live(rememberer(20.0), LATE, lives=12))
    order = np.random.default_rng(0).permutation(rows["life"].size)
    other = {name: column[order] for name, column in rows.items()}
    other |= {"task": other["task"] * 2**40 + 5, "life": other["life"] + 3}
    one, two = gain_curve(rows), gain_curve(other)
    for name in ("rho", "low", "high", "corrected"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), nan_ok=True)
    assert two.area_low == pytest.approx(one.area_low)


def test_scores_are_what_all_rows_know() -> None:
    ones, unknown = np.ones(3), np.array([1.0, math.nan, 1.0])
    rows = {"normalised": ones, "success": ones, "return": ones}
    assert scores(rows)[1] == "normalised"
    assert scores(rows | {"normalised": unknown})[1] == "success"
    assert scores(rows | {"normalised": unknown, "success": unknown})[1] == "return"


def coverage(lives: int, retention: float, proficient: float, *, binary: bool, times: int) -> tuple[float, float]:
    """Return how often the intervals of the first bin and of the area hold the truth."""
    inside = area = known = 0
    for seed in range(times):
        random = np.random.default_rng(seed)
        shift = random.normal(0, 0.05, lives) if not binary else 0.0  # what a life is good at

        def agent(age: NDArray[Any], lag: NDArray[Any], index: int, task: NDArray[Any], shift: Any = shift) -> Any:
            kept = 0.0 if lag[0] < 0 else retention
            return 0.2 + (proficient - 0.2) * (kept if index == 0 else 1.0) + shift * ((index > 0) | (lag > 0))

        rows = live(
            agent,
            (0, 1, 0, 2, 1, 2, 0, 1, 0, 2, 1, 2, 0),
            length=2,
            lives=lives,
            noise=0.0 if binary else 0.2,
            seed=seed,
        )
        score = rows["return"]
        if binary:
            score = (random.random(score.size) < score).astype(np.float64)
        curve = gain_curve(rows | {"normalised": score})
        if not curve.measured:
            continue
        k = next(k for k, rho in enumerate(curve.rho) if not math.isnan(rho))
        known += 1
        inside += curve.low[k] <= retention <= curve.high[k]
        area += curve.area_low <= retention <= curve.area_high
    assert known > 0.9 * times
    return inside / known, area / known


@pytest.mark.parametrize(
    ("lives", "binary", "retention", "proficient"),
    [
        (8, True, 0.5, 0.9), (8, True, 0.97, 0.97), (8, True, 0.99, 1.0), (8, False, 0.9, 0.95),
        (16, True, 0.9, 0.95), (16, True, 0.99, 1.0), (16, False, 0.5, 0.9),
        (64, True, 0.97, 0.97), (64, False, 0.99, 1.0),
    ],
)  # fmt: skip
def test_the_interval_covers(lives: int, binary: bool, retention: float, proficient: float) -> None:
    times = 60
    error = math.sqrt(0.95 * 0.05 / times)
    for share in coverage(lives, retention, proficient, binary=binary, times=times):
        assert 0.93 - 3 * error <= share


def test_the_interval_knows_that_first_meetings_are_uncertain() -> None:
    # n is uncertain, p = 1 and r = .6 are not: d rho / d n = -(1 - r) / (1 - n)² = -.4 / .64
    random, lives = np.random.default_rng(0), 200
    rows = live(rememberer(math.inf, 0.2, 1.0), (0, 1, 0, 1), lives=lives, noise=0.0, renamed=False)
    first, _, returned = moments(rows)
    score = np.where(returned, 0.6, rows["return"]) + first * random.normal(0, 0.3, rows["life"].size)
    curve = gain_curve(rows | {"normalised": score})
    n = [score[first & (rows["task"] == task)].mean() for task in (0, 1)]
    half = 1.972 * 0.3 / math.sqrt(lives) * math.hypot(*(0.4 / (1 - mean) ** 2 / 2 for mean in n))
    assert (curve.high[2] - curve.low[2]) / 2 == pytest.approx(half, rel=0.2)


def test_lives_that_forget_unlike_each_other_widen_the_half_life() -> None:
    random = np.random.default_rng(1)
    h = 20 * 2.0 ** random.normal(0, 1.5, 40)  # of each life

    def agent(age: NDArray[Any], lag: NDArray[Any], index: int, task: NDArray[Any]) -> NDArray[Any]:
        return 1.0 * (index > 0) + (index == 0) * np.where(lag < 0, 0.0, 2.0 ** (-lag / h))

    rows = live(agent, LATE, noise=0.0)
    score = (random.random(rows["life"].size) < rows["return"]).astype(np.float64)
    one = gain_curve(rows | {"normalised": score}).half_life
    apart = rows | {"normalised": score}
    use = moments(rows)[2]
    plain = half_life(rows["lag_episodes"][use], apart["normalised"][use], 0.0)
    assert one.lag == pytest.approx(plain.lag, rel=0.1)
    assert math.log(one.high / one.low) > 1.3 * math.log(plain.high / plain.low)


def test_fewer_than_eight_lives_have_no_interval() -> None:
    assert all(map(math.isnan, gain_curve(normalised(live(rememberer(30.0), LATE, lives=7))).low))
    assert not math.isnan(gain_curve(normalised(live(rememberer(30.0), LATE, lives=8))).area_low)


def test_all_returns_right_is_no_point() -> None:
    rows = live(rememberer(math.inf, 0.0, 1.0), LATE, lives=43, noise=0.0)
    curve = gain_curve(rows | {"success": rows["return"]})
    for k, rho in enumerate(curve.rho):
        assert math.isnan(rho) or (rho == 1.0 and curve.low[k] < 1.0 - 1 / curve.count[k])
    assert curve.area_low < 1.0
