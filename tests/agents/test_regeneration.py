"""Weights are drawn to where they began, and fresh ones are mixed in, as the formulas say."""

import pytest
import torch
from torch import nn

from lifelong.agents import PPO, Agent, PPOConfig, Rollout
from lifelong.agents.regeneration import Regeneration
from lifelong.envs import make_stream


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def test_the_pull_is_the_gradient_of_the_squared_distance() -> None:
    x = parameter(1.0, -2.0)
    pull = Regeneration({"x": x}, l2_init=0.25)
    x.data = torch.tensor([1.5, 2.0])
    (3 * x).sum().backward()
    pull.add_gradients()
    assert x.grad is not None
    assert x.grad.tolist() == [3 + 2 * 0.25 * 0.5, 3 + 2 * 0.25 * 4]
    assert pull.distance() == pytest.approx((0.5**2 + 4**2) ** 0.5)
    free = x.detach().clone().requires_grad_()
    ((3 * free).sum() + 0.25 * (free - torch.tensor([1.0, -2.0])).square().sum()).backward()
    torch.testing.assert_close(x.grad, free.grad)


def test_a_parameter_without_a_gradient_is_not_pulled() -> None:
    x = parameter(1.0)
    pull = Regeneration({"x": x}, l2_init=1.0)
    x.data += 1
    pull.add_gradients()
    assert x.grad is None


def test_a_share_of_the_weights_is_that_of_fresh_ones() -> None:
    x, same = parameter(1.0, 2.0, 4.0), parameter(3.0, 3.0)
    fresh = Regeneration({"x": x, "same": same}, shrink_perturb=0.25, generator=torch.Generator().manual_seed(0))
    x.data, same.data = torch.tensor([8.0, 8.0, 8.0]), torch.tensor([7.0, -1.0])
    fresh.mix()
    assert sorted(x.tolist()) == [6.25, 6.5, 7.0]  # .75 · 8 + .25 · each of the initial ones, in some order
    assert same.tolist() == [6.0, 0.0]
    orders = set()
    for _ in range(50):
        x.data = torch.zeros(3)
        fresh.mix()
        orders.add(tuple(x.tolist()))
    assert len(orders) == 6  # all there are


def test_without_strength_nothing_happens() -> None:
    x = parameter(1.0, 2.0)
    nothing = Regeneration({"x": x})
    x.data = torch.tensor([5.0, 6.0])
    x.grad = torch.ones(2)
    nothing.add_gradients()
    nothing.mix()
    assert x.tolist() == [5.0, 6.0]
    assert x.grad.tolist() == [1.0, 1.0]


def test_initial_weights_are_restored_and_others_refused() -> None:
    kept, x = Regeneration({"x": parameter(1.0, 2.0)}, l2_init=1.0), parameter(0.0, 0.0)
    other = Regeneration({"x": x}, l2_init=1.0)
    other.load_state_dict(kept.state_dict())
    x.grad = torch.zeros(2)
    other.add_gradients()
    assert x.grad.tolist() == [-2.0, -4.0]
    for wrong in ({}, {"x": torch.ones(3)}, {"x": torch.tensor([1.0, torch.nan])}):
        with pytest.raises(ValueError, match="x"):
            other.load_state_dict(wrong)


def learned(**options: float) -> tuple[Agent, dict[str, torch.Tensor]]:
    """Return an agent after three updates, and its initial weights."""
    env = make_stream("cued-recall", num_envs=4, cues=3)
    agent = Agent.for_spaces(env, "gated_delta", width=8, seed=0)
    before = {name: x.detach().clone() for name, x in agent.named_parameters()}
    torch.manual_seed(0)
    learner, rollout = PPO(agent, PPOConfig(lr=1e-2, **options)), Rollout(agent, env)
    assert (learner.regeneration is None) == (not options)
    for _ in range(3):
        learner.learn(rollout.collect(8))
    return agent, before


def moved(agent: Agent, before: dict[str, torch.Tensor]) -> float:
    return float(nn.utils.get_total_norm([x.detach() - before[name] for name, x in agent.named_parameters()]))


def test_learning_is_pulled() -> None:
    free, pulled, bound = moved(*learned()), moved(*learned(l2_init=1.0)), moved(*learned(l2_init=100.0))
    assert bound < pulled < free


def test_a_share_of_one_leaves_fresh_weights() -> None:
    agent, before = learned(shrink_perturb=1.0)
    for name, x in agent.named_parameters():
        torch.testing.assert_close(x.detach().flatten().sort().values, before[name].flatten().sort().values)
    assert moved(agent, before) > 0
