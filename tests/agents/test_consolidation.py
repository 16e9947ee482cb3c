"""Online EWC, worked out by hand: its minimum, its importances, and when they are taken."""

from typing import Any

import pytest
import torch
from torch import nn

from lifelong.agents import PPO, Agent, PPOConfig, Rollout
from lifelong.agents.consolidation import Consolidation
from lifelong.agents.ppo import Given, entries
from lifelong.envs import TaskStream, make_stream, parse_schedule

REVERSED: dict[str, Any] = {"task": "empty-5x5", "drifts": "plain/reversed_actions", "boundary": "task_id"}


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def test_the_minimum_lies_between_the_tasks() -> None:
    x = parameter(0.0, 0.0)
    ewc = Consolidation({"x": x}, strength=2.0, decay=1.0)
    ewc.consolidate({"x": torch.tensor([1.5, 0.0])})  # the first task left the weights at 0
    optimizer = torch.optim.SGD([x], lr=0.1)
    for _ in range(300):  # the second is (x - 4)² / 2
        optimizer.zero_grad()
        (0.5 * (x - 4).square()).sum().backward()
        ewc.add_gradients()
        optimizer.step()
    # d/dx [(x - 4)² / 2 + 2 / 2 · 1.5 x²] = x - 4 + 3 x = 0
    torch.testing.assert_close(x.detach(), torch.tensor([1.0, 4.0]))
    assert ewc.penalty() == pytest.approx(1.5)


def test_its_gradient_is_that_of_the_penalty() -> None:
    x = parameter(1.0, -2.0)
    ewc = Consolidation({"x": x}, strength=0.5, decay=1.0)
    ewc.consolidate({"x": torch.tensor([3.0, 0.25])})
    x.data = torch.tensor([1.5, 2.0])
    x.grad = torch.ones(2)
    ewc.add_gradients()
    assert x.grad.tolist() == [1 + 0.5 * 3 * 0.5, 1 + 0.5 * 0.25 * 4]
    assert ewc.penalty() == pytest.approx(0.25 * (3 * 0.5**2 + 0.25 * 4**2))


def test_importances_decay_and_the_anchor_is_the_last() -> None:
    x = parameter(1.0)
    ewc = Consolidation({"x": x}, strength=1.0, decay=0.5)
    x.grad = torch.zeros(1)
    ewc.add_gradients()
    assert x.grad.item() == ewc.penalty() == 0  # there was no boundary yet
    for value, wanted in ((2.0, 8.0), (3.0, 8.0 / 2 + 8.0), (7.0, (8.0 / 2 + 8.0) / 2 + 8.0)):
        x.data.fill_(value)
        ewc.consolidate({"x": torch.tensor([8.0])})
        assert ewc.fisher["x"].tolist() == [wanted]
        assert ewc.anchor["x"].tolist() == [value]


def test_its_state_is_restored_and_others_refused() -> None:
    kept, x = Consolidation({"x": parameter(1.0, 2.0)}, 1.0, 1.0), parameter(0.0, 0.0)
    kept.consolidate({"x": torch.tensor([1.0, 3.0])})
    other = Consolidation({"x": x}, 1.0, 1.0)
    other.load_state_dict(kept.state_dict())
    x.grad = torch.zeros(2)
    other.add_gradients()
    assert x.grad.tolist() == [-1.0, -6.0]
    for name, wrong in (
        ("fisher.x", torch.tensor([1.0, -1.0])),
        ("fisher.x", torch.tensor([1.0, torch.nan])),
        ("anchor.x", torch.ones(3)),
    ):
        with pytest.raises(ValueError, match=name):
            other.load_state_dict({**kept.state_dict(), name: wrong})
    with pytest.raises(ValueError, match=r"missing are anchor\.x, fisher\.x"):
        other.load_state_dict({})


def rooms(num_envs: int = 2, schedule: str = "block:32 steps") -> TaskStream:
    return make_stream(
        "rooms", num_envs, task="empty-5x5,lavagaps5", max_steps=4, schedule=parse_schedule(schedule), boundary="flag"
    )


def test_importances_of_two_actions_by_hand() -> None:
    env = make_stream("cued-recall", 2, cues=3)
    agent = Agent.for_spaces(env, "none", width=8, seed=0)
    learner, segment = PPO(agent), Rollout(agent, env).collect(4)
    head = agent.policy.output_maps[0]
    choices = head.out_features
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()  # all choices alike
    segment.steps["action"] = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])
    given = Given(learner.batch(segment.steps), entries(segment.steps), segment.state, 1.0)
    chosen = torch.tensor([[True, True, False, False], [True, True, False, False]])
    found = learner.fisher(given, chosen)
    # a step's gradient in the bias of choice 0 is 1[a = 0] - p: 2 - 2 p in one life, 1 - 2 p in the other; 4 steps
    p = 1 / choices
    name = next(n for n, x in agent.policy.named_parameters() if x is head.bias)
    assert found[name][0].item() == pytest.approx(((2 - 2 * p) ** 2 + (1 - 2 * p) ** 2) / 4)
    assert found[name][1].item() == pytest.approx(((2 * p) ** 2 + (1 - 2 * p) ** 2) / 4)
    assert all(not found[n].any() for n in found if n.startswith("critic"))


def test_one_step_each_is_the_mean_of_squares() -> None:
    env = make_stream("cued-recall", 3, cues=3)
    agent = Agent.for_spaces(env, "gated_delta", width=8, seed=0)
    learner, segment = PPO(agent), Rollout(agent, env).collect(5)
    given = Given(learner.batch(segment.steps), entries(segment.steps), segment.state, 1.0)
    chosen = torch.zeros(3, 5, dtype=torch.bool)
    chosen[0, 4] = chosen[2, 1] = True
    found = learner.fisher(given, chosen)
    hidden = agent.policy.trunk(entries(segment.steps), segment.state, segment.steps["start"])[0]
    log_prob = agent.policy.distribution(hidden).log_prob(segment.steps["action"])
    weights = list(agent.policy.parameters())
    parts = [
        torch.autograd.grad(log_prob[life, t], weights, retain_graph=True, materialize_grads=True)
        for life, t in ((0, 4), (2, 1))
    ]
    for (name, F), one, other in zip(found.items(), *parts, strict=True):
        torch.testing.assert_close(F, (one.square() + other.square()) / 2, rtol=1e-4, atol=1e-7, msg=name)


def solved(agent: Agent, task: str) -> float:
    """Return the share of episodes of a task that an agent solves in new lives."""
    env = make_stream("rooms", 32, schedule=parse_schedule(f"order:{task}"), seed=99, **REVERSED)
    with torch.random.fork_rng():
        return float(Rollout(agent, env).collect(150).episodes["success"].mean())


@pytest.mark.slow
@pytest.mark.parametrize(("ewc", "least", "most"), [(0.0, 0.0, 0.2), (3000.0, 0.8, 1.0)])
def test_a_room_is_still_solved_after_another(ewc: float, least: float, most: float) -> None:
    env = make_stream("rooms", 16, schedule=parse_schedule("block:30000 steps"), **REVERSED)
    agent = Agent.for_spaces(env, "none", width=32, seed=0)
    torch.manual_seed(0)
    learner, rollout = PPO(agent, PPOConfig(ewc=ewc, entropy_coef=0.05)), Rollout(agent, env)
    while rollout.steps < 30_000:
        learner.learn(rollout.collect(64))
    assert solved(agent, "plain") > 0.9
    while rollout.steps < 90_000:
        learner.learn(rollout.collect(64))
    assert solved(agent, "reversed_actions") > 0.6
    assert least <= solved(agent, "plain") <= most


def test_weights_are_kept_where_the_task_changed() -> None:
    moved = {}
    for strength in (1e-9, 1e4):
        env = rooms()
        agent = Agent.for_spaces(env, "none", width=8, seed=0)
        torch.manual_seed(0)
        learner, rollout = PPO(agent, PPOConfig(lr=1e-2, ewc=strength)), Rollout(agent, env)
        assert learner.consolidation is not None
        told = []
        for _ in range(6):
            before = {name: x.detach().clone() for name, x in agent.policy.named_parameters()}
            told.append(learner.learn(rollout.collect(8)))
            if told[-1]["boundaries"] == 1 and len(told) > 1 and told[-2]["boundaries"] == 0:
                assert all(learner.consolidation.anchor[name].equal(x) for name, x in before.items())
        assert [numbers["boundaries"] for numbers in told] == [0, 1, 1, 1, 1, 1]
        assert told[0]["ewc_penalty"] == 0 < told[-1]["ewc_penalty"]
        F, anchor = learner.consolidation.fisher, learner.consolidation.anchor
        now = dict(agent.policy.named_parameters())
        moved[strength] = sum(float((F[n] * (now[n].detach() - anchor[n]).square()).sum()) for n in F)
    assert moved[1e4] < 0.1 * moved[1e-9]
