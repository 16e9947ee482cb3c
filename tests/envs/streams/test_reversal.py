from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.references.reversal import (
    BayesFilter,
    WinStayLoseShift,
    reversal_policies,
    win_stay_lose_shift_reward,
)
from lifelong.envs.schedules import Cyclic
from lifelong.envs.streams.reversal import Reversal, best_rewards


def exact_rewards(h: float, p: float, pulls: int) -> list[float]:
    """Return the expected reward of Bayes' filter at each pull: the sum over all sequences of outcomes."""
    beliefs, rewards = [(1.0, 0.5)], []
    for _ in range(pulls):
        rewards.append(0.0)
        coming = []
        for chance, b in beliefs:
            win = b * p + (1 - b) * (1 - p)
            rewards[-1] += chance * win
            for outcome, likelihood in ((win, p), (1 - win, 1 - p)):
                if outcome > 0:
                    after = b * likelihood / outcome
                    after = after * (1 - h) + (1 - after) * h
                    coming.append((chance * outcome, max(after, 1 - after)))
        beliefs = coming
    return rewards


@pytest.mark.parametrize(
    ("h", "p"), [(0.05, 0.9), (0.02, 0.8), (0.02, 1.0), (0.3, 0.6), (0.0, 0.7), (0.0, 1.0), (0.5, 0.9)]
)
def test_the_best_reward_is_the_sum_over_all_outcomes(h: float, p: float) -> None:
    assert best_rewards(h, p, 12) == pytest.approx(exact_rewards(h, p, 12), abs=1e-5)


def test_the_first_rewards_worked_out() -> None:
    # p = .9, h = .05. First pull: 1/2. Then b = .9, and after the hazard .9 * .95 + .1 * .05 = .86:
    # the second pull pays .86 * .9 + .14 * .1 = .788.
    # h = .02, p = 1: what paid is known, and is still right with probability .98.
    assert best_rewards(0.05, 0.9, 2) == pytest.approx([0.5, 0.788])
    assert best_rewards(0.02, 1.0, 3) == pytest.approx([0.5, 0.98, 0.98])
    assert win_stay_lose_shift_reward(0.05, 0.9) == pytest.approx(0.788)


@pytest.mark.parametrize(("h", "p", "cross"), [(0.02, 1.0, 0.98), (0.05, 0.9, 0.811), (0.02, 0.8, 0.746)])
def test_long_lives_get_what_was_found_elsewhere(h: float, p: float, cross: float) -> None:
    """The figures of an independent simulation of the filter, given to three digits."""
    assert best_rewards(h, p, 500)[-1] == pytest.approx(cross, abs=0.001)


@pytest.mark.parametrize(("h", "p", "contexts"), [(0.05, 0.9, 1), (0.02, 1.0, 1), (0.02, 0.8, 3)])
def test_references_are_what_their_policies_get(h: float, p: float, contexts: int) -> None:
    stream = Reversal(400, hazard=h, reward_probability=p, contexts=contexts, life_episodes=100)
    scores = {name: play(stream, make(), 100) for name, make in reference_policies(stream).items()}
    assert scores["random"]["return"].mean() == pytest.approx(0.5, abs=0.01)
    assert scores["within"]["return"].mean() == pytest.approx(0.5, abs=0.05)
    assert scores["oracle"]["return"].mean() == pytest.approx(p, abs=0.006)
    rows = scores["cross"]
    assert rows["return"].mean() == pytest.approx(rows["cross"].mean(), abs=0.006)
    rows = scores["win-stay-lose-shift"]
    later = rows["lag_episodes"] > 0
    assert rows["return"][later].mean() == pytest.approx(win_stay_lose_shift_reward(h, p), abs=0.008)
    assert rows["return"][~later].mean() == pytest.approx(0.5, abs=0.08)


def test_the_filters_beliefs_worked_out() -> None:
    # After the second arm paid b = .9 -> .86; after it then failed b = .86 * .1 / (.86 * .1 + .14 * .9) = .4057, and
    # .4057 * .95 + .5943 * .05 = .4151: the first arm is due.
    bayes = BayesFilter(1, 1, 0.05, 0.9)

    def see(over: int, action: int, reward: float) -> dict[str, Any]:
        return {
            "observation": {"context": np.array([0]), "over": np.array([[float(over)]])},
            "previous_action": np.array([action]),
            "previous_reward": np.array([[reward]]),
        }

    never = np.array([False])
    assert bayes.act(see(0, 2, 0), ~never)[0] == 0
    assert bayes.belief[0, 0] == 0.5
    assert bayes.act(see(1, 1, 1), never)[0] == 1
    assert bayes.belief[0, 0] == pytest.approx(0.86)
    assert bayes.act(see(0, 2, 0), never)[0] == 1
    assert bayes.act(see(1, 1, 0), never)[0] == 0
    assert bayes.belief[0, 0] == pytest.approx(0.4151, abs=1e-4)
    shift = WinStayLoseShift(1, 1)
    arms = [shift.act(see(*told), never)[0] for told in ((0, 2, 0), (1, 0, 1), (0, 2, 0), (1, 0, 0), (0, 2, 0))]
    assert arms == [0, 0, 0, 1, 1]


def test_an_episode_is_a_pull_and_a_look() -> None:
    stream = Reversal(1, hazard=0.0, reward_probability=1.0, life_episodes=3)
    seen, _ = stream.reset()
    for pull, paid in ((stream.good_arms(), 1.0), (1 - stream.good_arms(), 0.0)):
        assert (seen["previous_action"], seen["previous_reward"], seen["observation"]["over"]) == (2, 0, 0)
        seen, reward, terminated, _, _ = stream.step(pull)
        assert (reward, terminated) == (paid, False)
        assert (seen["previous_action"], seen["previous_reward"], seen["observation"]["over"]) == (pull, paid, 1)
        seen, reward, terminated, _, info = stream.step([1])
        assert (reward, terminated) == (0, True)
        rows = info["episodes"]
        assert (rows["return"], rows["success"], rows["answer"], rows["length"]) == (paid, paid, pull, 2)


def test_arms_change_with_the_hazard_and_only_in_their_own_time() -> None:
    stream = Reversal(500, hazard=0.2, contexts=3, schedule=Cyclic(2), life_episodes=None)
    stream.reset()
    changes, chances = 0, 0
    for _ in range(30):
        before, context = stream.good.copy(), stream.task.copy()
        stream.step(np.zeros(500, np.int64))
        stream.step(np.zeros(500, np.int64))
        changed = stream.good != before
        assert not changed[np.arange(500), (context + 1) % 3][stream.task == context].any()
        if (stream.task == context).all():
            changes, chances = changes + changed[np.arange(500), context].sum(), chances + 500
        assert changed.sum(1).max() <= 1
    assert changes / chances == pytest.approx(0.2, abs=0.02)


def test_the_good_arm_and_the_outcomes_are_drawn_evenly_and_apart() -> None:
    stream = Reversal(4000, hazard=0.0, contexts=2)
    stream.reset()
    assert stream.good.mean(0) == pytest.approx([0.5, 0.5], abs=0.03)
    assert np.corrcoef(stream.good.T)[0, 1] == pytest.approx(0, abs=0.06)
    _, reward, *_ = stream.step(stream.good_arms())
    for arm in (0, 1):
        assert reward[stream.good_arms() == arm].mean() == pytest.approx(0.9, abs=0.03)


def test_policies_are_told_nothing_but_observations() -> None:
    stream = Reversal(3, contexts=2)
    for name, make in reversal_policies(stream).items():
        if name == "oracle":
            continue
        seen, info = stream.reset()
        first = make().act(seen, info["life_start"])
        stream.good ^= 1
        assert np.array_equal(make().act(seen, info["life_start"]), first)


@pytest.mark.parametrize(
    "wrong",
    [{"hazard": -0.1}, {"hazard": 0.6}, {"reward_probability": 0.5}, {"reward_probability": 1.2}, {"contexts": 0}],
)
def test_numbers_that_make_no_stream_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        Reversal(**wrong)
