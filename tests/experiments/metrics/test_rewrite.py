"""Rewriting of agents whose memory is known: one overwrites, one never does, one mixes, one forgets at the change."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.envs.streams.cued_recall import CuedRecall
from lifelong.experiments.metrics.proportions import Shares
from lifelong.experiments.metrics.rewrite import RewriteCurve, meetings_since, rewrite_curve, steps_since

Rows = dict[str, NDArray[Any]]
ANSWERS, CHANGE, LIVES, EPISODES, CUES = 4, 64, 128, 192, 8
CHANCE = 1 / ANSWERS
FIRST = CHANGE * LIVES  # rows before the change


def lived(kind: str, blanks: int = 0, cues: int = CUES) -> Rows:
    """Return the rows of a policy in lives of the real stream, in which half of the cues change their answers."""
    env = CuedRecall(LIVES, cues=cues, answers=ANSWERS, blanks=blanks, change_at=CHANGE, life_episodes=EPISODES, seed=5)
    random = np.random.default_rng(3)
    everyone = np.arange(LIVES)
    first, known = (np.full((LIVES, cues), -1) for _ in range(2))  # answers: that which was shown first, and last
    env.reset()
    rows = []
    for episode in range(EPISODES):
        cue, right = env.base_task.copy(), env.right_answers()
        if kind == "forgets" and episode >= CHANGE:
            known[:] = first[:] = -1
        store = {"overwrites": known, "keeps": first, "forgets": known}.get(kind)
        if store is None:  # mixes
            store = np.where(random.random((LIVES, cues)) < 0.5, first, known)
        answer = np.where(store[everyone, cue] >= 0, store[everyone, cue], random.integers(ANSWERS, size=LIVES))
        for _ in range(blanks + 1):
            *_, info = env.step(answer)
        rows.append(info["episodes"])
        known[everyone, cue] = right
        first[everyone, cue] = np.where(first[everyone, cue] < 0, right, first[everyone, cue])
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def near(values: tuple[float, ...], truth: float, count: tuple[int, ...]) -> bool:
    """Return whether shares are within four standard errors of the truth, exactly it where there is no chance."""
    n = np.array(count)
    return bool((np.abs(np.array(values) - truth) <= 4 * np.sqrt(truth * (1 - truth) / n) + 1e-12).all())


@pytest.mark.parametrize("axis", ["meetings", "steps"])
def test_an_agent_that_never_rewrites_gives_the_old_answer_for_ever(axis: Any) -> None:
    curve = rewrite_curve(lived("keeps"), axis, CHANCE)
    measured = [k for k, count in enumerate(curve.new.count) if count >= 30]
    assert len(measured) >= 5
    assert [curve.new.mean[k] for k in measured] == [0.0] * len(measured)
    assert [curve.old.mean[k] for k in measured] == [1.0] * len(measured)
    assert curve.crossover is None
    assert all(curve.old.low[k] < 1 for k in measured)  # never "1.000 to 1.000"


def test_an_agent_that_overwrites_needs_one_meeting() -> None:
    curve = rewrite_curve(lived("overwrites"), "meetings", CHANCE)
    assert curve.bins[:4] == ("0", "1", "2-3", "4-7")
    assert (curve.new.mean[0], curve.old.mean[0]) == (0, 1)  # it cannot know
    assert set(curve.new.mean[1:4]) == {1.0}
    assert set(curve.old.mean[1:4]) == {0.0}
    assert set(curve.unchanged.mean[:4]) == {1.0}
    assert near(curve.first.mean[:1], CHANCE, curve.first.count[:1])
    assert set(curve.first.mean[1:4]) == {1.0}
    assert curve.crossover == 1
    assert curve.reason == ""


def test_one_that_mixes_gives_half_of_each() -> None:
    curve = rewrite_curve(lived("mixes"), "meetings", CHANCE)
    measured = [k for k, count in enumerate(curve.new.count) if count >= 30][1:]
    for shares in (curve.new, curve.old):
        assert near(tuple(shares.mean[k] for k in measured), 0.5, tuple(shares.count[k] for k in measured))
    assert all(curve.new.low[k] < 0.5 < curve.new.high[k] for k in measured[:3])


def test_one_that_forgets_at_the_change_stands_at_chance() -> None:
    for axis in ("meetings", "steps"):
        curve: RewriteCurve = rewrite_curve(lived("forgets"), axis, CHANCE)  # type: ignore[arg-type]
        measured = [k for k, count in enumerate(curve.new.count) if count >= 30]
        for shares in (curve.new, curve.old, curve.unchanged):
            assert near(tuple(shares.mean[k] for k in measured), CHANCE, tuple(shares.count[k] for k in measured))
        assert curve.crossover is None  # whatever noise puts above the other


def test_the_crossover_lasts_and_is_no_noise() -> None:
    rows = (40,) * 4

    def crossover(new: tuple[float, ...], old: tuple[float, ...]) -> int | None:
        shares = [Shares(mean, tuple(m - 0.1 for m in mean), tuple(m + 0.1 for m in mean), rows) for mean in (new, old)]
        return replace(curve, new=shares[0], old=shares[1]).crossover

    curve = rewrite_curve(lived("overwrites"), "meetings", CHANCE)
    assert crossover((0.0, 0.6, 0.7, 0.8), (1.0, 0.3, 0.2, 0.1)) == 1
    assert crossover((0.0, 0.4, 0.7, 0.8), (1.0, 0.3, 0.2, 0.1)) == 2  # at 1 the intervals overlap
    assert crossover((0.0, 0.6, 0.2, 0.8), (1.0, 0.3, 0.3, 0.1)) == 4  # it does not last
    assert crossover((0.0, 0.6, 0.7, 0.2), (1.0, 0.3, 0.2, 0.3)) is None


def test_steps_and_meetings_are_counted_from_the_change() -> None:
    rows = lived("overwrites", blanks=2)
    order = np.lexsort((rows["episode"], rows["life"]))
    steps, meetings = steps_since(rows), meetings_since(rows)
    for row in order[::7]:
        since = rows["since_change"][row]
        mine = rows["life"] == rows["life"][row]
        between = mine & (rows["episode"] >= CHANGE) & (rows["episode"] < rows["episode"][row])
        assert since == (rows["episode"][row] - CHANGE if rows["episode"][row] >= CHANGE else -1)
        assert steps[row] == (3 * since if since >= 0 else -1)
        want = int((between & (rows["task"] == rows["task"][row])).sum())
        assert meetings[row] == (want if since >= 0 else -1)


def test_the_order_of_rows_does_not_matter() -> None:
    rows = lived("mixes")
    order = np.random.default_rng(0).permutation(rows["life"].size)
    shuffled = {name: column[order] for name, column in rows.items()}
    for axis in ("meetings", "steps"):
        assert repr(rewrite_curve(shuffled, axis, CHANCE)) == repr(rewrite_curve(rows, axis, CHANCE))  # type: ignore[arg-type]


def test_tasks_whose_first_meeting_since_is_not_in_the_table_do_not_count() -> None:
    rows = lived("overwrites")
    late = rows["episode"] >= CHANGE + 60
    cut = {name: column[late] for name, column in rows.items()}
    assert (meetings_since(cut) >= 0).mean() < 0.01  # but for cues met first, after so long, in what is there
    assert rewrite_curve(cut, "meetings", CHANCE).reason


def test_tasks_met_only_after_the_change_have_no_old_answer_to_forget() -> None:
    rows = lived("keeps", cues=64)
    curve = rewrite_curve(rows, "meetings", CHANCE)
    before = np.unique(rows["life"][rows["since_change"] < 0] * 64 + rows["task"][rows["since_change"] < 0])
    after = (rows["old_answer"] >= 0) & (meetings_since(rows) == 0)
    met = np.isin(rows["life"] * 64 + rows["task"], before)
    assert (after & ~met).sum() > 100
    assert curve.new.count[0] == (after & met).sum()
    assert curve.new.mean[0] == 0


@pytest.mark.parametrize(
    ("chosen", "reason"), [(slice(0, FIRST), "no hidden answer changed"), (slice(0, 0), "no hidden answer changed"),
                           (slice(FIRST, FIRST + 20), "no bin has 30 rows")]
)  # fmt: skip
def test_without_rows_there_is_a_reason(chosen: slice, reason: str) -> None:
    rows = {name: column[chosen] for name, column in lived("overwrites").items()}
    assert reason in rewrite_curve(rows, "meetings", CHANCE).reason
