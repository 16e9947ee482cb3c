from typing import Any

import numpy as np
import pytest

from lifelong.envs import CuedRecall
from lifelong.envs.references.questions import (
    cross_episode_policy,
    oracle_policy,
    play,
    random_policy,
    within_episode_policy,
)
from lifelong.envs.schedules import Block, Cyclic, Interleaved


@pytest.mark.parametrize("feedback", ["reveal", "reward"])
def test_references_are_what_their_policies_get(feedback: Any) -> None:
    stream = CuedRecall(64, cues=8, answers=4, feedback=feedback, life_episodes=40)
    assert play(stream, random_policy, 120)["return"].mean() == pytest.approx(0.25, abs=0.02)
    assert play(stream, within_episode_policy, 120)["return"].mean() == pytest.approx(0.25, abs=0.02)
    assert play(stream, oracle_policy, 40)["return"].mean() == 1
    rows = play(stream, cross_episode_policy, 120)
    assert rows["return"].mean() == pytest.approx(rows["cross"].mean(), abs=0.01)
    for met_before in (False, True):
        here = (rows["lag_episodes"] >= 0) == met_before
        assert rows["return"][here].mean() == pytest.approx(rows["cross"][here].mean(), abs=0.02)
    assert (rows["within"] == 0.25).all()


def test_what_was_revealed_is_known_at_the_second_meeting() -> None:
    rows = play(CuedRecall(4, cues=6), cross_episode_policy, 128)
    assert (rows["return"][rows["lag_episodes"] >= 0] == 1).all()


def test_rewards_alone_find_the_answer_by_elimination() -> None:
    stream = CuedRecall(300, cues=1, answers=4, feedback="reward", life_episodes=6)
    rows = play(stream, cross_episode_policy, 6)
    for episode, chance in enumerate((0.25, 0.5, 0.75, 1, 1, 1)):
        here = rows["episode"] == episode
        assert (rows["cross"][here] == chance).all()
        assert rows["return"][here].mean() == pytest.approx(chance, abs=0.1 if chance < 1 else 0)


def test_the_last_right_answer_is_revealed_once() -> None:
    stream = CuedRecall(5, cues=4, blanks=1, life_episodes=3)
    seen, _ = stream.reset()
    right = np.full(5, stream.answers)
    for _ in range(40):
        expected = np.where(stream.life_step == 0, stream.answers, right)
        assert np.array_equal(seen["observation"]["revealed"], expected)
        right = np.full(5, stream.answers)
        asked = stream.right_answers()
        seen, _, terminated, _, _ = stream.step(np.zeros(5, np.int64))
        right[terminated] = asked[terminated]


def test_without_memory_what_was_just_revealed_is_no_help() -> None:
    stream = CuedRecall(200)
    seen, _ = stream.reset()
    reward = []
    for _ in range(128):
        seen, won, *_ = stream.step(seen["observation"]["revealed"] % stream.answers)
        reward.append(won)
    assert np.mean(reward) == pytest.approx(0.25, abs=0.01)  # 25,600 guesses: four standard errors


def test_rewards_alone_reveal_nothing() -> None:
    assert "revealed" not in CuedRecall(feedback="reward").reset()[0]["observation"]


def test_a_cue_is_seen_first_and_answered_after_the_blanks() -> None:
    stream = CuedRecall(2, cues=3, blanks=2, schedule=Cyclic(1), feedback="reward")
    seen, _ = stream.reset()
    for _ in range(4):
        cue, right = seen["observation"]["cue"], stream.right_answers()
        assert (cue != 0).all()
        assert (seen["observation"]["go"] == 0).all()
        for go in (0, 1):
            seen, reward, terminated, _, _ = stream.step(right)
            assert not terminated.any()
            assert not reward.any()
            assert (seen["observation"]["cue"] == 0).all()
            assert (seen["observation"]["go"] == go).all()
        seen, reward, terminated, truncated, _ = stream.step(right)
        assert not (terminated | truncated).any()
        assert (reward == 1).all()
        assert (seen["observation"]["over"] == 1).all()
        assert (seen["observation"]["go"] == 0).all()
        seen, reward, terminated, truncated, info = stream.step((right + 1) % 4)
        assert terminated.all()
        assert not truncated.any()
        assert not reward.any()
        assert np.array_equal(info["episodes"]["answer"], right)
        assert (info["episodes"]["length"] == 4).all()
        assert (seen["observation"]["over"] == 0).all()


def test_rewards_are_seen_with_the_answer_in_a_last_step() -> None:
    stream = CuedRecall(50, feedback="reward")
    seen, _ = stream.reset()
    for answer in range(4):
        right = stream.right_answers()
        assert (seen["previous_action"] == 4).all()
        assert not seen["previous_reward"].any()
        seen, *_ = stream.step(np.full(50, answer))
        assert (seen["observation"]["cue"] == 0).all()
        assert (seen["previous_action"] == answer).all()
        assert np.array_equal(seen["previous_reward"][:, 0], right == answer)
        seen, *_ = stream.step(np.zeros(50, np.int64))


@pytest.mark.parametrize("feedback", ["reveal", "reward"])
def test_version_0_1_ended_with_the_decision_and_showed_it_in_the_next_episode(feedback: Any) -> None:
    stream = CuedRecall(50, feedback=feedback, sealed=False)
    seen, _ = stream.reset()
    assert "over" not in seen["observation"]
    for answer in range(4):
        right = stream.right_answers()
        seen, reward, terminated, _, info = stream.step(np.full(50, answer))
        assert terminated.all()
        assert np.array_equal(reward, right == answer)
        assert (seen["previous_action"] == answer).all()
        assert np.array_equal(seen["previous_reward"][:, 0], reward)
        assert (info["episodes"]["answer"] == answer).all()


def test_a_cue_looks_the_same_all_its_life_and_is_redrawn_with_the_next() -> None:
    stream = CuedRecall(1, cues=2, schedule=Cyclic(1), life_episodes=4)
    seen, _ = stream.reset()
    cues = []
    for _ in range(8):
        cues.append(seen["observation"]["cue"][0])
        seen, *_ = stream.step([0])
    assert np.array_equal(cues[0], cues[2])
    assert np.array_equal(cues[1], cues[3])
    assert not np.array_equal(cues[0], cues[1])
    assert not np.array_equal(cues[0], cues[4])
    assert np.array_equal(cues[4], cues[6])


def test_answers_are_drawn_evenly_and_apart_from_the_schedule() -> None:
    stream = CuedRecall(2000, cues=3, schedule=Interleaved())
    stream.reset()
    right = stream.right_answers()
    for cue in range(3):
        share = np.bincount(right[stream.task == cue], minlength=4) / (stream.task == cue).sum()
        assert np.abs(share - 0.25).max() < 0.06


def test_rows_say_what_was_answered() -> None:
    stream = CuedRecall(3, cues=2, schedule=Block(5))
    stream.reset()
    right = stream.right_answers()
    answers = np.array([right[0], (right[1] + 1) % 4, 0])
    rows = stream.step(answers)[4]["episodes"]
    assert np.array_equal(rows["answer"], answers)
    assert np.array_equal(rows["success"], answers == right)
    assert np.array_equal(rows["normalised"], np.where(answers == right, 1, np.float32(-1 / 3)))


@pytest.mark.parametrize("wrong", [{"cues": 0}, {"answers": 1}, {"size": 0}, {"blanks": -1}, {"feedback": "praise"}])
def test_numbers_that_make_no_stream_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        CuedRecall(**wrong)


def test_half_of_the_cues_take_other_answers_at_the_stated_episode_and_all_else_stays() -> None:
    plain, changed = (
        play(CuedRecall(64, cues=7, life_episodes=40, change_at=at), random_policy, 80) for at in (None, 25)
    )
    more = ("old_answer", "since_change", "success", "return", "normalised", "cross")
    for name in plain.keys() - {*more}:
        assert np.array_equal(plain[name], changed[name])
    assert (plain["old_answer"] == -1).all()
    assert (plain["since_change"] == -1).all()
    assert np.array_equal(changed["since_change"], np.where(changed["episode"] >= 25, changed["episode"] - 25, -1))
    before = changed["episode"] < 25
    assert np.array_equal(plain["success"][before], changed["success"][before])
    assert (changed["old_answer"][before] == -1).all()
    other = changed["old_answer"] >= 0
    right = plain["answer"] == changed["old_answer"]
    assert np.array_equal(plain["success"][other] == 1, right[other])  # what was right before
    assert not (changed["success"][other & right]).any()
    assert np.array_equal(plain["success"][~other], changed["success"][~other])
    cues = [np.unique(changed["task"][other & (changed["life"] == life)]) for life in range(128)]
    assert max(map(len, cues)) == 4  # of 7, rounded up
    assert len({tuple(found) for found in cues}) > 10  # another half in each life


def test_answers_after_the_change_are_uniform_over_the_others() -> None:
    stream = CuedRecall(400, cues=10, change_at=1, life_episodes=None)
    stream.reset()
    old = stream._right_at(np.zeros(400, np.int64))
    by = (stream._right_at(np.ones(400, np.int64)) - old) % 4
    count = np.bincount(by.ravel(), minlength=4)
    assert count[0] == 2000
    assert np.abs(count[1:] - 2000 / 3).max() < 4 * np.sqrt(2000 * 2 / 9)


def test_what_is_revealed_after_the_change_is_the_new_answer_and_the_best_policy_takes_it() -> None:
    rows = play(CuedRecall(64, cues=6, life_episodes=60, change_at=30), cross_episode_policy, 60)
    met = rows["lag_episodes"] >= 0
    misled = (rows["old_answer"] >= 0) & met & (rows["lag_episodes"] > rows["since_change"])
    assert misled.sum() > 150
    assert (rows["return"][misled] == 0).all()
    assert (rows["answer"][misled] == rows["old_answer"][misled]).all()
    assert (rows["return"][met & ~misled] == 1).all()
    assert np.array_equal(rows["cross"][met], rows["return"][met])


def test_with_rewards_alone_the_best_is_not_known_after_the_change() -> None:
    rows = play(CuedRecall(8, cues=4, feedback="reward", life_episodes=40, change_at=20), random_policy, 80)
    assert np.array_equal(np.isnan(rows["cross"]), rows["episode"] >= 20)


@pytest.mark.parametrize(("at", "life"), [(0, 10), (10, 10), (-1, None)])
def test_a_change_must_lie_within_the_life(at: int, life: int | None) -> None:
    with pytest.raises(ValueError, match=f"change_at must be at least 1.*change_at={at}"):
        CuedRecall(2, change_at=at, life_episodes=life)
