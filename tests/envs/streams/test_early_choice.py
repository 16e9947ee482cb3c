from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.certificate import MEMORYLESS
from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.schedules import Cyclic
from lifelong.envs.streams.early_choice import EarlyChoice


@pytest.mark.parametrize("choice", [0, 1, 2])
def test_an_episode_is_a_choice_a_wait_and_a_look(choice: int) -> None:
    # Context 4 of three choices: 4 mod 3 = 1 is right. Four steps, of which the first is the choice.
    stream = EarlyChoice(1, delay=4, contexts=5, choices=3, schedule=Cyclic(1), life_episodes=None)
    stream.reset()
    while stream.task[0] != 4:
        stream.step([0])
    seen, _ = stream.observe()
    assert (seen["observation"]["context"], seen["observation"]["over"]) == (4, 0)
    rewards = []
    for move in (choice, (choice + 1) % 3, 0, 1):
        seen, reward, terminated, _, _ = stream.step([move])
        rewards.append(reward.item())
        assert seen["observation"]["context"] == 5
        assert not terminated[0]
    assert rewards == [0, 0, 0, float(choice == 1)]
    assert (seen["observation"]["over"], seen["previous_reward"]) == (1, float(choice == 1))
    _, reward, terminated, _, info = stream.step([1])
    assert (reward, terminated) == (0, True)
    rows = info["episodes"]
    right = float(choice == 1)
    assert (rows["return"], rows["success"], rows["answer"], rows["length"]) == (right, right, choice, 5)


def test_a_choice_may_be_paid_at_once() -> None:
    stream = EarlyChoice(1, delay=1, contexts=1)
    stream.reset()
    assert stream.step([0])[1] == 1
    assert stream.step([1])[2] == [True]


def test_noise_is_a_fair_coin_that_says_nothing() -> None:
    stream = EarlyChoice(500, delay=5, noise=0.5, life_episodes=None)
    stream.reset()
    right = stream.right_choices()
    rewards = np.array([stream.step(right)[1] for _ in range(5)])
    assert set(np.unique(rewards[:4])) == {-0.5, 0.5}
    assert rewards[:4].mean(1) == pytest.approx([0] * 4, abs=0.09)  # 4 standard errors of .5 / sqrt(500)
    assert np.abs(np.corrcoef(rewards[:4]) - np.eye(4)).max() < 0.18
    assert (rewards[4] == 1).all()
    rows = stream.step(right)[4]["episodes"]
    assert (rows["success"] == 1).all()
    assert np.array_equal(rows["return"], rewards.sum(0).astype(np.float32))


@pytest.mark.parametrize("choices", [2, 4])
@pytest.mark.parametrize("rule", ["shown", "life"])
def test_references_are_what_their_policies_get(rule: Any, choices: int) -> None:
    stream = EarlyChoice(200, rule=rule, choices=choices, contexts=4, delay=3, noise=0.25, life_episodes=24)
    scores = {name: play(stream, make(), 24) for name, make in reference_policies(stream).items()}
    right = {name: rows["success"].mean() for name, rows in scores.items()}
    chance = 1 / choices
    assert right["oracle"] == 1
    assert right["random"] == pytest.approx(chance, abs=0.03)
    assert right["within"] == right[MEMORYLESS] == pytest.approx(1 if rule == "shown" else chance, abs=0.07)
    rows = scores["cross"]
    assert rows["return"].mean() == pytest.approx(rows["success"].mean(), abs=0.03)  # the noise is worth nothing
    if rule == "shown":
        assert right["cross"] == stream.tasks[0].references.within == 1
        return
    for known in np.arange(1, choices + 1) / choices:
        here = rows["cross"] == np.float32(known)
        assert rows["success"][here].mean() == pytest.approx(known, abs=0.07 if known < 1 else 0)
    assert here.mean() > 0.4


def test_the_expected_score_of_a_life_worked_out() -> None:
    # 4 choices, every context met 8 times: (1/4 + 2/4 + 3/4 + 5) / 8.
    stream = EarlyChoice(5, rule="life", choices=4, contexts=3, delay=2, schedule=Cyclic(1), life_episodes=24)
    rows = play(stream, reference_policies(stream)["cross"](), 24)
    assert rows["cross"].mean() == pytest.approx(6.5 / 8)


def test_what_is_right_is_of_a_life_or_of_all() -> None:
    shown, life = (EarlyChoice(4000, rule=rule, contexts=3) for rule in ("shown", "life"))
    for stream in (shown, life):
        stream.reset(seed=2)
    assert (shown._right == [0, 1, 0]).all()
    assert life._right.mean(0) == pytest.approx([0.5] * 3, abs=0.03)
    assert np.abs(np.corrcoef(life._right.T) - np.eye(3)).max() < 0.06
    assert (shown.retention, life.retention) == ("gain", "index")
    assert EarlyChoice(1, contexts=1).retention is None


def test_policies_are_told_nothing_but_observations() -> None:
    stream = EarlyChoice(8, rule="life", delay=2)
    for name, make in reference_policies(stream).items():
        if name != "oracle":
            seen, info = stream.reset()
            first = make().act(seen, info["life_start"])
            stream._right = 1 - stream._right
            assert np.array_equal(make().act(seen, info["life_start"]), first)


@pytest.mark.parametrize("wrong", [{"delay": 0}, {"contexts": 0}, {"choices": 1}, {"rule": "none"}, {"noise": -1.0}])
def test_numbers_that_make_no_stream_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        EarlyChoice(**wrong)
