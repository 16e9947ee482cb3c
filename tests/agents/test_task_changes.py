"""Boundaries begin with the first life that changes task, and the others follow."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lifelong.agents import PPO, Agent, PPOConfig, Rollout
from lifelong.agents.task_changes import TaskChanges, told_changes
from lifelong.envs import make_stream, parse_schedule


def changes(*rows: str) -> Tensor:
    """Return [B, T] changes from a row for each life, `x` where the task changes after the step."""
    return torch.tensor([[mark == "x" for mark in row] for row in rows])


def marks(chosen: Tensor | None) -> list[str] | None:
    return None if chosen is None else ["".join("o" if x else "." for x in row) for row in chosen.tolist()]


def test_steps_up_to_the_first_change_are_of_the_task_that_ends() -> None:
    found = TaskChanges()
    assert found.observe(changes("....", "....")) is None
    assert marks(found.observe(changes(".x..", "...x"))) == ["oo..", "oooo"]
    assert found.observe(changes("....", "....")) is None
    assert found.boundaries == 1
    assert [found.due(), found.due()] == [True, False]


def test_a_change_between_segments_is_the_first_steps() -> None:
    found = TaskChanges()
    found.moved(torch.tensor([True, False]))
    assert marks(found.observe(changes("....", "...."))) == ["o...", "oooo"]
    assert found.behind is not None
    assert found.behind.tolist() == [False, True]
    assert found.observe(changes("....", "..x.")) is None  # the other follows
    assert found.boundaries == 1


def test_a_life_that_changes_twice_in_a_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="a life changed task 2 times in a segment of 4 steps: an update answers one"):
        TaskChanges().observe(changes("....", "x.x."))


def test_lives_that_follow_later_make_no_second_boundary() -> None:
    found = TaskChanges()
    assert marks(found.observe(changes("x...", "....", "...."))) == ["o...", "oooo", "oooo"]
    assert found.observe(changes("....", "..x.", "....")) is None
    assert found.behind is not None
    assert found.behind.tolist() == [False, False, True]
    assert marks(found.observe(changes("...x", "....", "...."))) == ["oooo", "oooo", "...."]  # the third is behind
    assert found.behind.tolist() == [False, True, True]


def test_which_lives_are_behind_is_kept() -> None:
    found, other = TaskChanges(), TaskChanges()
    other.load_state_dict(found.state_dict(), 3)
    assert other.behind is None
    found.observe(changes("x.", "..", ".."))
    other.load_state_dict(found.state_dict(), 3)
    assert other.observe(changes("..", "x.", "..")) is None
    other.load_state_dict(found.state_dict(), 3, slots=[2, 0])
    assert other.behind is not None
    assert other.behind.tolist() == [True, False]
    for name, wrong in (
        ("behind", torch.zeros(2, dtype=torch.bool)),
        ("behind", torch.zeros(3)),
        ("else", torch.zeros(3)),
        ("boundaries", torch.tensor(-1)),
    ):
        with pytest.raises(ValueError, match=name):
            other.load_state_dict({**found.state_dict(), name: wrong}, 3)
    with pytest.raises(ValueError, match="as many lives as those before, 2, got 3"):
        other.observe(changes("..", "x.", ".."))


@pytest.mark.parametrize("boundary", ["flag", "task_id"])
def test_changes_are_those_of_the_stream(boundary: str) -> None:
    env = make_stream(
        "rooms",
        3,
        task="empty-5x5,lavagaps5",
        max_steps=4,
        schedule=parse_schedule("cyclic:30 steps"),
        boundary=boundary,
    )
    rollout = Rollout(Agent.for_spaces(env, "none", width=8, seed=0), env)
    segments = [rollout.collect(6) for _ in range(4)]
    change = torch.cat([told_changes(segment, "ewc") for segment in segments], 1).numpy()
    seen = torch.cat(
        [segment.steps["observation", "task_start" if boundary == "flag" else "task"] for segment in segments], 1
    )
    if boundary == "flag":
        shown = seen[..., 0].numpy() > 0
    else:
        shown = np.diff(seen.numpy(), axis=1, prepend=-1) != 0
    assert shown[:, 0].all()  # a life begins, which is no change
    np.testing.assert_array_equal(change[:, :-1], shown[:, 1:])
    assert change.sum(1).tolist() == [2, 2, 2]


def test_who_is_told_nothing_cannot_learn_by_it() -> None:
    env = make_stream("cued-recall", 2)
    agent = Agent.for_spaces(env, "none", width=8)
    segment = Rollout(agent, env).collect(4)
    assert "task_change" not in segment.steps["next"]
    for name, config in (("ewc", PPOConfig(ewc=1.0)), ("reset_at_boundary", PPOConfig(reset_at_boundary="on"))):
        with pytest.raises(ValueError, match=rf"{name} needs to be told when the task changes: .* have neither"):
            PPO(agent, config).learn(segment)


def begun_anew(segments: int = 0) -> tuple[PPO, Rollout, dict[str, Tensor]]:
    """Return a learner after some segments of 16 steps, the task changes after 32, and its initial weights."""
    env = make_stream(
        "rooms", 2, task="empty-5x5,lavagaps5", max_steps=4, schedule=parse_schedule("block:32 steps"), boundary="flag"
    )
    agent = Agent.for_spaces(env, "none", width=8, seed=0)
    initial = {name: x.detach().clone() for name, x in agent.policy.named_parameters()}
    learner, rollout = PPO(agent, PPOConfig(reset_at_boundary="on")), Rollout(agent, env)
    for _ in range(segments):
        learner.learn(rollout.collect(8))
    return learner, rollout, initial


def test_weights_and_moments_begin_anew_with_every_task() -> None:
    learner, rollout, initial = begun_anew()
    anew = []
    for _ in range(4):
        told = learner.learn(rollout.collect(8))
        anew.append(all(x.equal(initial[name]) for name, x in learner.policy.named_parameters()))
        assert bool(learner.optimizer.state) == (not anew[-1])
        assert told["ratio_error"] < 1e-4
    assert anew == [False, True, False, False]
    assert told["boundaries"] == 1


def test_after_an_update_that_was_refused_the_next_one_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: Any, **named: Any) -> None:
        raise FloatingPointError

    learner, rollout, initial = begun_anew(segments=1)
    with monkeypatch.context() as patch:
        patch.setattr(PPO, "gradients", refused)
        with pytest.raises(FloatingPointError):
            learner.learn(rollout.collect(8))
    assert learner.task_changes is not None
    kept = TaskChanges()
    kept.load_state_dict(learner.task_changes.state_dict(), 2)
    assert kept.due()
    learner.learn(rollout.collect(8))
    assert all(x.equal(initial[name]) for name, x in learner.policy.named_parameters())
