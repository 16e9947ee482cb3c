from typing import Any

import numpy as np
import pytest
from minigrid.minigrid_env import MiniGridEnv

from lifelong.envs import ColourRule
from lifelong.envs.references.questions import (
    cross_episode_policy,
    oracle_policy,
    play,
    random_policy,
    within_episode_policy,
)
from lifelong.envs.schedules import Block, Redrawn
from lifelong.envs.streams.colour_rule import COLOURS, ColourRoom


@pytest.mark.parametrize(("colours", "episodes"), [(2, 20), (3, 6)])
def test_references_are_what_their_policies_get(colours: int, episodes: int) -> None:
    stream = ColourRule(40, colours=colours, schedule=Redrawn(episodes), life_episodes=3 * episodes)
    references = stream.tasks[0].references
    assert references.cross == pytest.approx(1 - (colours - 1) / (2 * episodes))
    assert references.within == 1 / colours
    blocks = 40 * 60 // episodes
    tolerance = 3 * 0.5 / blocks**0.5  # three standard errors of a mean over blocks
    for policy, expected in ((within_episode_policy, 1 / colours), (oracle_policy, 1.0)):
        rows = play(stream, policy, 60)
        assert rows["return"].mean() == pytest.approx(expected, abs=tolerance if expected < 1 else 0)
        assert (rows["answer"] >= 0).all()
    rows = play(stream, cross_episode_policy, 60)
    assert rows["return"].mean() == pytest.approx(references.cross, abs=tolerance * colours / episodes)
    assert rows["cross"].mean() == pytest.approx(references.cross)
    for j in range(episodes):
        here = rows["episode"] % episodes == j
        assert (rows["cross"][here] == np.float32(min(1, (j + 1) / colours))).all()
        assert rows["return"][here].mean() == pytest.approx(min(1, (j + 1) / colours), abs=tolerance)


def test_the_random_reference_is_what_random_actions_get() -> None:
    stream = ColourRule(50)
    rows = play(stream, random_policy, 40)
    assert rows["return"].mean() == pytest.approx(stream.tasks[0].references.random, abs=0.03)
    assert np.isnan(ColourRule(1, max_steps=7).tasks[0].references.random)


def test_a_policy_that_remembers_sees_in_the_last_step_what_it_touched_and_whether_it_paid() -> None:
    stream = ColourRule(6, colours=3)
    seen, _ = stream.reset()
    outcomes = 0
    for _ in range(60):
        over = seen["observation"]["over"][:, 0] > 0
        touched, paid = seen["observation"]["touched"][over], seen["previous_reward"][over, 0] > 0
        assert (touched < 3).all()
        assert np.array_equal(touched == stream.right_answers()[over], paid)
        assert (seen["previous_action"][over] == 2).all()  # forward
        outcomes += over.sum()
        seen, *_ = stream.step(stream.toward(stream.episode % 3))
    assert outcomes > 30


def test_an_episode_looks_the_same_whatever_the_rule() -> None:
    rooms = [ColourRoom(colours=3, rule=rule) for rule in range(3)]
    for seed in range(10):
        (first, _), *others = (room.reset(seed=seed) for room in rooms)
        assert all(np.array_equal(first["image"], other["image"]) for other, _ in others)
        steps = [[room.step(action)[0]["image"] for action in (0, 0, 1)] for room in rooms]
        assert np.array_equal(steps[0], steps[1])
        assert np.array_equal(steps[0], steps[2])
    assert len({repr(room.observation_space["image"]) for room in rooms}) == 1


def test_the_view_is_minigrids_own() -> None:
    room, drawn = ColourRoom(colours=4), np.random.default_rng(0)
    seen, _ = room.reset(seed=0)
    for _ in range(600):
        expected = MiniGridEnv.gen_obs(room)
        assert np.array_equal(seen["image"], expected["image"])
        assert seen["direction"] == expected["direction"]
        seen, _, over, _, _ = room.step(drawn.integers(3))
        if over:
            seen, _ = room.reset()


def test_walking_into_a_ball_pays_for_one_colour_and_the_last_step_shows_it() -> None:
    for answer in range(3):
        for rule in range(3):
            room = ColourRoom(colours=3, rule=rule)
            room.reset(seed=5)
            *before, last = room.way_to(answer)
            for action in before:
                assert room.step(action)[1:] == (0.0, False, False, {})
            before = room.gen_obs()
            seen, reward, *ended = room.step(last)
            assert (reward, *ended) == (float(answer == rule), False, False, {})
            assert (before["touched"], before["over"], seen["touched"], seen["over"]) == (3, 0, answer, 1)
            assert np.array_equal(seen["image"], before["image"])  # a ball is not walked over
            for action in range(3):
                again, *ended = room.step(action)
                assert ended == [0.0, True, False, {"lifelong_answer": answer, "success": reward}]
                assert all(np.array_equal(again[name], seen[name]) for name in ("image", "direction", "touched"))
            first, _ = room.reset(seed=6)
            assert (first["touched"], first["over"]) == (3, 0)


def test_running_out_of_time_is_an_end_with_nothing() -> None:
    room = ColourRoom(max_steps=5)
    room.reset(seed=0)
    steps = [room.step(0) for _ in range(6)]
    assert [step[1:] for step in steps[:5]] == [(0.0, False, False, {})] * 5
    assert [(step[0]["touched"], step[0]["over"]) for step in steps[3:5]] == [(2, 0), (2, 1)]
    assert steps[5][1:] == (0.0, True, False, {"lifelong_answer": -1, "success": 0.0})


@pytest.mark.parametrize("colours", [2, 4, 6])
def test_every_ball_can_be_reached_in_time(colours: int) -> None:
    room = ColourRoom(colours=colours)
    for seed in range(60):
        room.reset(seed=seed)
        assert all(0 < len(room.way_to(answer)) <= room.max_steps for answer in range(colours))


def test_the_best_score_is_unknown_where_no_theory_is() -> None:
    stream = ColourRule(2, schedule=Block(3))
    assert np.isnan(stream.tasks[0].references.cross)
    assert np.isnan(play(stream, oracle_policy, 2)["cross"]).all()
    assert [task.name for task in stream.tasks] == [f"{colour} pays" for colour in COLOURS[:2]]


@pytest.mark.parametrize("wrong", [{"colours": 0}, {"colours": 1}, {"colours": 7}, {"size": 4}, {"max_steps": 0}])
def test_numbers_that_make_no_room_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ColourRule(**wrong)
