"""Retention of policies whose memory is known: 0 without one, 1 with a perfect one, a cliff at a cache's length.

Tolerances are four standard errors, from the number of independent guesses behind each figure.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.envs.schedules import Interleaved
from lifelong.envs.streams.cued_recall import CuedRecall
from lifelong.experiments.metrics.retention import (
    RetentionCurve,
    bin_edges,
    bin_label,
    bootstrap,
    half_life,
    interquartile_mean,
    join_runs,
    lag_bins,
    memory_index,
    memory_index_interval,
    percentile_interval,
    previous_meeting,
    recall_curve,
    stay_shift_curve,
    stratified_interval,
)

Rows = dict[str, NDArray[Any]]
Feedback = Literal["reveal", "reward"]
Source = Literal["simulated", "stream"]
ANSWERS = 4
VARIANCE = (1 / ANSWERS) * (1 - 1 / ANSWERS)  # of one guess
CACHE = 15  # episodes


class Policy:
    """Policy that answers cues; `learn` gives it the outcome.

    Kinds: `constant`; `random`; `habit`, one fixed answer to each cue in all lives; `perfect`, forgets nothing;
    `cache`, knows what happened in the last `CACHE` episodes of its life and guesses otherwise.
    """

    def __init__(self, kind: str, feedback: Feedback, lives: int, cues: int, seed: int) -> None:
        self.kind, self.feedback, self.random = kind, feedback, np.random.default_rng(seed)
        self.everyone = np.arange(lives)
        self.met, self.answered, self.known = (np.full((lives, cues), fill) for fill in (-1, 0, -1))
        self.tried = np.zeros((lives, cues, ANSWERS))

    def forget(self, lives: NDArray[np.bool_]) -> None:
        self.met[lives] = self.known[lives] = -1
        self.tried[lives] = 0

    def answer(self, cue: NDArray[Any], episode: NDArray[Any]) -> NDArray[Any]:
        lives = cue.size
        guess = self.random.integers(ANSWERS, size=lives)
        if self.kind in ("constant", "random", "habit"):
            return {"constant": np.full(lives, 2), "random": guess, "habit": (cue * 7) % ANSWERS}[self.kind]
        here = (self.everyone, cue)
        met = self.met[here] >= 0
        if self.kind == "cache":
            met &= episode - self.met[here] <= CACHE
            other = (self.answered[here] + self.random.integers(1, ANSWERS, lives)) % ANSWERS  # all but the last try
        else:
            other = (self.tried[here] + self.random.random((lives, ANSWERS)) / 2).argmin(1)  # one not yet tried
            guess = other
        return np.where(met, np.where(self.known[here] >= 0, self.known[here], other), guess)

    def learn(self, cue: NDArray[Any], episode: NDArray[Any], answer: NDArray[Any], right: NDArray[Any]) -> None:
        here = (self.everyone, cue)
        told = right if self.feedback == "reveal" else np.where(answer == right, right, -1)
        self.met[here], self.answered[here], self.known[here] = episode, answer, told
        self.tried[(*here, answer)] += 1


def simulate(kind: str, feedback: Feedback, seed: int, lives: int = 192, episodes: int = 384, cues: int = 48) -> Rows:
    """Return the rows of lives in numpy; cues have weights 1 / rank, so lags from 1 to hundreds occur."""
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, cues + 1)
    right = random.integers(ANSWERS, size=(lives, cues))
    policy = Policy(kind, feedback, lives, cues, seed + 1)
    met, meetings = np.full((lives, cues), -1), np.zeros((lives, cues))
    everyone, rows = np.arange(lives), []
    for episode in range(episodes):
        cue = random.choice(cues, p=weights / weights.sum(), size=lives)
        here = (everyone, cue)
        answer = policy.answer(cue, np.full(lives, episode))
        success = (answer == right[here]).astype(np.float32)
        known = meetings[here] >= (1 if feedback == "reveal" else ANSWERS)
        trying = 1 / ANSWERS if feedback == "reveal" else (meetings[here] + 1) / ANSWERS
        row = {"life": everyone, "episode": np.full(lives, episode), "task": cue, "return": success, "success": success}
        row |= {"lag_episodes": np.where(met[here] < 0, -1, episode - met[here]), "answer": answer}
        row |= {"within": np.full(lives, 1 / ANSWERS), "cross": np.where(known, 1.0, trying)}
        rows.append(row)
        policy.learn(cue, np.full(lives, episode), answer, right[here])
        met[here] = episode
        meetings[here] += 1
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def live(kind: str, feedback: Feedback, seed: int, slots: int = 96, episodes: int = 192, cues: int = 32) -> Rows:
    """Return the rows of two lives in each slot of a real stream; the policy sees cues, what is revealed, rewards."""
    schedule = Interleaved(zipf=1.0)
    env = CuedRecall(
        slots, cues=cues, answers=ANSWERS, feedback=feedback, schedule=schedule, life_episodes=episodes, seed=seed
    )
    policy = Policy(kind, feedback, slots, cues, seed + 1)
    seen, info = env.reset()
    episode, rows = np.zeros(slots, np.int64), []
    for _ in range(2 * episodes):
        cue = info["task"]
        answer = policy.answer(cue, episode)
        seen, reward, _, _, info = env.step(answer)
        rows.append(info["episodes"])
        right = np.where(reward > 0, answer, -1)
        if feedback == "reveal":  # nothing is revealed once a life has ended, and nothing is left to use it
            right = np.where(info["life_start"], -1, seen["observation"]["revealed"])
        policy.learn(cue, episode, answer, right)
        policy.forget(info["life_start"])
        episode = np.where(info["life_start"], 0, episode + 1)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def rows_of(source: Source, kind: str, feedback: Feedback, seed: int = 1) -> Rows:
    return {"simulated": simulate, "stream": live}[source](kind, feedback, seed)


def curve_of(rows: Rows, feedback: Feedback, **options: Any) -> RetentionCurve:
    return recall_curve(rows, 1 / ANSWERS, **options) if feedback == "reveal" else stay_shift_curve(rows, **options)


def standard_errors(kind: str, feedback: Feedback, rows: Rows, curve: RetentionCurve) -> NDArray[np.float64]:
    """Return that of rho in each bin, of a policy that guesses.

    A guess that is made once for a cue of a life and then kept counts once, however often it is given.
    """
    if feedback == "reward":  # a difference of two shares, each of at least `count` guesses
        return np.sqrt(2 * VARIANCE / np.maximum(curve.count, 1))
    met = rows["lag_episodes"] >= 1
    guess = np.arange(met.size) if kind in ("random", "cache") else rows["life"] * 1000 + rows["task"]
    errors = []
    for number in range(len(curve.rho)):
        uses = np.unique(guess[met & (lag_bins(rows["lag_episodes"]) == number)], return_counts=True)[1]
        errors.append(math.sqrt(VARIANCE * (uses**2).sum()) / uses.sum() / (1 - 1 / ANSWERS))
    return np.array(errors)


both = pytest.mark.parametrize("feedback", ["reveal", "reward"])
sources = pytest.mark.parametrize("source", ["simulated", "stream"])


@sources
@both
@pytest.mark.parametrize("kind", ["constant", "random", "habit"])
def test_without_a_memory_retention_is_zero(source: Source, feedback: Feedback, kind: str) -> None:
    rows = rows_of(source, kind, feedback)
    curve = curve_of(rows, feedback)
    assert sum(count >= curve.minimum for count in curve.count) >= 7
    rho, errors = np.array(curve.rho), standard_errors(kind, feedback, rows, curve)
    if feedback == "reward" and kind != "random":
        errors[:] = 0.0  # it stays always, rewarded or not
    measured = ~np.isnan(rho)
    assert (np.abs(rho) <= 4 * errors)[measured].all(), curve.table()
    assert abs(curve.area) <= 4 * errors[measured].mean()  # as if all bins erred together
    assert curve.half_life == 1


@sources
@both
def test_a_perfect_memory_retains_everything(source: Source, feedback: Feedback) -> None:
    curve = curve_of(rows_of(source, "perfect", feedback), feedback)
    measured = [rho for rho in curve.rho if not math.isnan(rho)]
    assert measured == [1.0] * len(measured)
    assert len(measured) >= 7
    assert curve.area == curve.area_low == curve.area_high == 1.0
    assert curve.half_life is None
    assert curve.half_life_label == f"> {2 ** len(measured) - 1}"


@sources
@both
def test_a_cache_falls_off_a_cliff_at_its_length(source: Source, feedback: Feedback) -> None:
    rows = rows_of(source, "cache", feedback)
    curve = curve_of(rows, feedback)
    inside = (CACHE + 1).bit_length() - 1
    assert curve.rho[:inside] == (1.0,) * inside
    beyond = np.array(curve.rho[inside:])
    errors = standard_errors("cache", feedback, rows, curve)[inside:]
    assert (np.abs(beyond) <= 4 * errors)[~np.isnan(beyond)].all(), curve.table()
    assert curve.half_life == CACHE + 1
    assert math.isclose(curve.area, (inside + np.nansum(beyond)) / (inside + (~np.isnan(beyond)).sum()))


def test_the_cliff_is_exact_to_the_episode() -> None:
    rows = simulate("cache", "reveal", seed=1)
    last = recall_curve(rows, 1 / ANSWERS, where=rows["lag_episodes"] == CACHE, resamples=0)
    first = recall_curve(rows, 1 / ANSWERS, where=rows["lag_episodes"] == CACHE + 1, resamples=0)
    assert last.rho[-1] == 1.0
    assert abs(first.rho[-1]) <= 4 * math.sqrt(VARIANCE / first.count[-1]) / (1 - 1 / ANSWERS)


@sources
@both
def test_the_memory_index_is_zero_without_and_one_with_a_perfect_memory(source: Source, feedback: Feedback) -> None:
    rows = rows_of(source, "random", feedback)
    size = rows["return"].size
    gap = rows["cross"].mean() - 1 / ANSWERS
    assert abs(memory_index(rows)) <= 4 * math.sqrt(VARIANCE / size) / gap
    rows = rows_of(source, "perfect", feedback)
    gap = rows["cross"].mean() - 1 / ANSWERS
    cues = np.unique(rows["life"] * 1000 + rows["task"]).size
    # What luck decides per cue: the first guess, or in which of four tries (variance 1.25) the answer is found.
    luck = VARIANCE if feedback == "reveal" else 1.25
    error = math.sqrt(luck * cues) / size / gap
    index, (low, high) = memory_index(rows), memory_index_interval(rows)
    assert abs(index - 1) <= 4 * error
    assert low < index < high
    assert high - low <= 2 * 1.96 * error * 1.2  # luck at its largest; drawn from some two hundred lives


def test_the_memory_index_is_not_known_without_references_or_a_gap() -> None:
    ones = np.ones(3, np.float32)
    assert math.isnan(memory_index({"return": ones, "within": ones * np.nan, "cross": ones}))
    assert math.isnan(memory_index({"return": ones, "within": ones, "cross": ones}))
    assert math.isnan(memory_index({"return": ones[:0], "within": ones[:0], "cross": ones[:0]}))
    assert memory_index({"return": ones * 3, "within": ones, "cross": ones * 5}) == 0.5


@pytest.mark.parametrize("kind", ["random", "habit"])
def test_intervals_are_as_wide_as_what_is_independent_makes_them(kind: str) -> None:
    rows = simulate(kind, "reveal", seed=1, lives=400, episodes=100)
    curve = recall_curve(rows, 1 / ANSWERS)
    errors = standard_errors(kind, "reveal", rows, curve)
    width = (np.array(curve.high) - np.array(curve.low)) / (2 * 1.96)
    # A spread estimated from 400 lives and 1000 draws is itself off by this share.
    share = math.sqrt(1 / (2 * 400) + 1 / (2 * 1000))
    assert np.abs(width[:4] / errors[:4] - 1).max() <= 4 * share


def test_lag_bins_double() -> None:
    lags = np.array([-1, 0, 1, 2, 3, 4, 7, 8, 2**40 - 1, 2**40])
    assert lag_bins(lags).tolist() == [-1, -1, 0, 1, 1, 2, 2, 3, 39, 40]
    assert [bin_edges(k) for k in range(3)] == [(1, 1), (2, 3), (4, 7)]
    assert [bin_label(k) for k in range(3)] == ["1", "2-3", "4-7"]


def shuffled(rows: Mapping[str, NDArray[Any]], seed: int = 0) -> Rows:
    order = np.random.default_rng(seed).permutation(rows["life"].size)
    return {name: column[order] for name, column in rows.items()}


@both
def test_the_order_of_rows_does_not_matter(feedback: Feedback) -> None:
    rows = simulate("cache", feedback, seed=1, lives=20, episodes=100)
    assert curve_of(shuffled(rows), feedback).to_json() == curve_of(rows, feedback).to_json()


@pytest.mark.parametrize("scale", [1, 2**58])
def test_previous_meetings_are_of_the_same_life_task_and_mode(scale: int) -> None:
    rows = simulate("random", "reward", seed=1, lives=5, episodes=64, cues=8)
    rows["life"] = rows["life"] * scale  # if large, four columns do not fit one number
    mode = np.repeat(np.array([0, 1], np.int8), rows["life"].size)
    rows = {name: np.tile(column, 2) for name, column in rows.items()} | {"mode": mode}
    rows = shuffled(rows)
    where = {key: i for i, key in enumerate(zip(rows["mode"], rows["life"], rows["episode"], strict=True))}
    for i, before in enumerate(previous_meeting(rows)):
        lag = rows["lag_episodes"][i]
        met = lag >= 1 and where[rows["mode"][i], rows["life"][i], rows["episode"][i] - lag]
        assert before == (met if lag >= 1 else -1)
        assert lag < 1 or rows["task"][before] == rows["task"][i]


def test_rows_whose_last_meeting_is_missing_do_not_count() -> None:
    rows = simulate("random", "reward", seed=1, lives=50, episodes=200)
    here = np.random.default_rng(1).random(rows["life"].size) < 0.5
    some = {name: column[here] for name, column in rows.items()}
    before = previous_meeting(rows)
    counted = stay_shift_curve(rows, where=here & here[before], resamples=0)
    assert stay_shift_curve(some, resamples=0).to_json() == counted.to_json()
    assert sum(stay_shift_curve(rows, where=here, resamples=0).count) > sum(counted.count)


def test_modes_of_one_life_do_not_meet() -> None:
    two = {"life": np.zeros(3, np.int64), "task": np.zeros(3, np.int64), "mode": np.array([0, 0, 1])}
    two |= {"episode": np.array([0, 1, 0]), "lag_episodes": np.array([-1, 1, -1])}
    assert previous_meeting(two).tolist() == [-1, 0, -1]


def test_the_count_of_a_difference_is_that_of_its_smaller_group() -> None:
    won, task = np.array([1, 1, 1, 0, 0], np.float32), np.arange(5)
    rows = {"life": np.zeros(10, np.int64), "task": np.tile(task, 2), "episode": np.arange(10)}
    rows |= {"lag_episodes": np.repeat([-1, 5], 5), "answer": np.zeros(10, np.int64), "success": np.tile(won, 2)}
    curve = stay_shift_curve(rows, minimum=2, resamples=0)
    assert curve.count == (0, 0, 2)
    assert curve.score[2] == pytest.approx(3 / 5)
    assert curve.rho[2] == 0.0
    assert math.isnan(stay_shift_curve(rows, minimum=3, resamples=0).rho[2])


@pytest.mark.parametrize(("rho", "expected"), [((0.6, 0.51), None), ((0.9, math.nan, 0.5), 4), ((0.4, 0.9), 1)])
def test_the_half_life_is_the_first_lag_at_which_half_is_forgotten(
    rho: tuple[float, ...], expected: int | None
) -> None:
    curve = recall_curve(simulate("perfect", "reveal", seed=1, lives=8, episodes=64), 1 / ANSWERS, resamples=0)
    assert half_life(replace(curve, rho=rho)) == expected


def test_thin_bins_have_no_retention() -> None:
    curve = recall_curve(simulate("perfect", "reveal", seed=1, lives=8, episodes=64), 1 / ANSWERS, minimum=30)
    thin = [count < 30 for count in curve.count]
    assert any(thin)
    assert [math.isnan(rho) for rho in curve.rho] == thin
    assert [math.isnan(low) for low in curve.low] == thin


@both
def test_no_rows_make_an_empty_curve(feedback: Feedback) -> None:
    empty = {name: column[:0] for name, column in simulate("random", feedback, seed=1, lives=2, episodes=2).items()}
    curve = curve_of(empty, feedback)
    assert curve.rho == ()
    assert math.isnan(curve.area)
    assert curve.half_life_label == "not measured"
    assert all(map(math.isnan, memory_index_interval(empty)))


def test_a_curve_survives_json() -> None:
    curve = recall_curve(simulate("cache", "reveal", seed=1, lives=8, episodes=64), 1 / ANSWERS)
    again = RetentionCurve.from_json(curve.to_json())
    assert again.to_json() == curve.to_json()
    assert "NaN" not in curve.to_json()
    assert again.table() == curve.table()
    assert half_life(again) == curve.half_life
    assert again.count == curve.count


def test_runs_are_joined_with_their_lives_apart() -> None:
    runs = [simulate("random", "reward", seed=seed, lives=4, episodes=50) for seed in (1, 2, 3)]
    joined = join_runs(runs)
    assert np.unique(joined["life"]).tolist() == list(range(12))
    counts = [stay_shift_curve(run, resamples=0).count for run in runs]
    assert sum(stay_shift_curve(joined, resamples=0).count[:3]) >= sum(sum(count[:3]) for count in counts)
    assert join_runs([]) == {}


def test_the_bootstrap_of_a_mean_has_its_standard_error() -> None:
    sample = np.random.default_rng(1).normal(size=(500, 1))
    low, high = percentile_interval(bootstrap(sample, lambda sums: sums[:, 0] / 500, resamples=2000))
    error = sample.std() / math.sqrt(500)
    assert abs((high - low) / (2 * 1.96 * error) - 1) <= 4 * math.sqrt(1 / 1000 + 1 / 4000)


def test_the_interquartile_mean_ignores_the_outer_quarters() -> None:
    scores = np.array([[-100.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 100.0]])
    assert interquartile_mean(scores) == 3.5
    assert interquartile_mean(scores, 1).tolist() == [1.5, 5.5]
    assert interquartile_mean(np.stack([scores, scores]), (1, 2)).tolist() == [3.5, 3.5]


def test_seeds_are_resampled_within_each_task() -> None:
    scores = np.tile([0.0, 10.0], (10, 1))  # tasks differ, seeds do not: nothing is uncertain
    assert stratified_interval(scores, lambda scores: scores.mean((-2, -1))) == (5.0, 5.0)
    low, high = stratified_interval(np.random.default_rng(1).normal(size=(10, 4)))
    assert low < 0 < high
