"""Recycled units get fresh weights in, none out, and no moments; all else stays."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import nn

from lifelong.agents import PPO, ActorCritic, Agent, Backbone, Encoder, PPOConfig, Rollout, Segment
from lifelong.agents.dormant_units import HiddenLayer, activity, dormant, hidden_layers, unit_activities
from lifelong.agents.parallel_ppo import ParallelPPO
from lifelong.agents.ppo import Given, entries
from lifelong.agents.redo import Redo
from lifelong.agents.regeneration import Regeneration
from lifelong.envs import make_stream
from lifelong.memory import make_memory

X = torch.tensor([[1.0], [2.0], [-3.0]])


def three_units() -> tuple[nn.Sequential, Redo, torch.optim.Adam]:
    """Return a network whose second unit of three puts out nothing for X, after a step of Adam."""
    network = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        network[0].weight[:, 0], network[0].bias[:] = torch.tensor([1.0, 2.0, -4.0]), torch.tensor([0.5, 0.25, 0.125])
    layer = HiddenLayer(3, ("0.weight", "0.bias"), "2.weight", network[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    regeneration = Regeneration(dict(network.named_parameters()), generator=torch.Generator().manual_seed(0))
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with torch.no_grad():
        network[0].weight[1], network[0].bias[1], network[2].weight[0, 1] = 0.0, -1.0, 5.0
    return network, Redo([layer], regeneration, optimizer, every=2, tau=0.025), optimizer


def test_a_dead_unit_is_drawn_anew_and_the_function_stays() -> None:
    network, recycling, optimizer = three_units()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    with torch.no_grad():
        y, active = network(X), activity(network[:2](X))
    assert dormant(active).tolist() == [False, True, False]
    recycling.recycle([active])
    with torch.no_grad():
        assert network(X).equal(y)
    after = network.state_dict()
    assert after["0.weight"][1, 0] in torch.tensor([1.0, 2.0, -4.0])
    assert after["0.bias"][1] in torch.tensor([0.5, 0.25, 0.125])
    assert after["2.weight"][0, 1] == 0
    for name, x in before.items():  # but for the unit all stays
        kept = [0, 2] if name != "2.bias" else [0]
        assert after[name].flatten()[kept].equal(x.flatten()[kept])
    for name, parameter in network.named_parameters():
        for entry in ("exp_avg", "exp_avg_sq"):
            moment = optimizer.state[parameter][entry].flatten()
            assert (moment == 0).tolist() == ([False] if name == "2.bias" else [False, True, False])
    assert recycling.recycled == 1


def test_what_a_unit_below_tau_puts_out_is_all_that_changes() -> None:
    network, recycling, _ = three_units()
    with torch.no_grad():
        network[0].weight[1] = 0.01
        network[0].bias[1] = 0.0
        y, h = network(X), network[:2](X)
        recycling.recycle([activity(h)])
        torch.testing.assert_close(y - network(X), 5 * h[:, 1:2])


def test_units_that_are_awake_stay_and_nothing_is_drawn() -> None:
    network, recycling, _ = three_units()
    before, random = [x.clone() for x in network.parameters()], recycling.regeneration.generator
    assert random is not None
    drawn = random.get_state()
    recycling.recycle([torch.ones(3)])
    assert all(x.equal(y) for x, y in zip(network.parameters(), before, strict=True))
    assert random.get_state().equal(drawn)
    assert recycling.recycled == 0


def test_it_is_due_after_every_so_many_updates_also_of_a_checkpoint() -> None:
    _, recycling, _ = three_units()
    assert [recycling.due() for _ in range(3)] == [False, True, False]
    _, other, _ = three_units()
    other.load_state_dict(recycling.state_dict())
    assert other.due()
    for wrong in ({}, {"updates": torch.tensor(-1), "recycled": torch.tensor(0)}):
        with pytest.raises(ValueError, match="updates"):
            other.load_state_dict(wrong)


def lived(segments: int = 1, **options: Any) -> tuple[Agent, PPO, Segment]:
    env = make_stream("cued-recall", num_envs=4, cues=3)
    agent = Agent.for_spaces(env, "gated_delta", width=8, seed=0)
    torch.manual_seed(0)
    learner, rollout = PPO(agent, PPOConfig(minibatches=2, **options)), Rollout(agent, env)
    segment = rollout.collect(8)
    for _ in range(segments - 1):
        learner.learn(segment)
        segment = rollout.collect(8)
    return agent, learner, segment


def given(learner: PPO, segment: Segment) -> Given:
    return Given(learner.batch(segment.steps), entries(segment.steps), segment.state, 1.0)


def test_both_factors_of_a_gated_unit_are_drawn_anew() -> None:
    agent, learner, segment = lived(redo_every=1, redo_tau=0.0)
    assert learner.recycling is not None
    mlps = agent.policy.encoder.mlp, agent.policy.backbone.mlps[0]
    start = mlps[0].factors.weight.detach().clone()
    with torch.no_grad():
        for mlp in mlps:
            mlp.factors.weight[3], mlp.factors.bias[3] = 0.0, 0.0  # SiLU(0) = 0
    features = learner.policy.trunk(entries(segment.steps), segment.state, segment.steps["start"])[0]
    active = learner.activities(given(learner, segment))
    assert [dormant(x, 0.0).nonzero().tolist() for x in active] == [[[3]], [[3]]]
    learner.recycling.recycle(active)
    assert learner.recycling.recycled == 2
    again = learner.policy.trunk(entries(segment.steps), segment.state, segment.steps["start"])[0]
    torch.testing.assert_close(again, features)
    for mlp in mlps:
        assert not mlp.product.weight[:, 3].any()
        assert mlp.factors.weight[[3, 8 + 3]].ne(0).all()
    assert torch.isin(mlps[0].factors.weight[[3, 8 + 3]], start).all()
    assert not any((x == 0).any() for x in learner.activities(given(learner, segment)))


def test_a_channel_of_pixels_is_a_unit() -> None:
    space = spaces.Box(0, 255, (17, 23, 3), np.uint8)
    agent = ActorCritic(Encoder(space, 8), Backbone([make_memory("gru", 8)]), spaces.Discrete(2))
    learner = PPO(agent, PPOConfig(redo_every=1, redo_tau=0.0))
    pixels = torch.randint(0, 256, (2, 5, 17, 23, 3), dtype=torch.uint8)
    image, observation = agent.encoder.images[0], TensorDict({"observation": pixels}, [2, 5])
    with torch.no_grad():
        image.conv[0].bias[:] = image.conv[2].bias[:] = 10.0
        image.conv[2].weight.abs_()
        image.conv[0].bias[2] = image.conv[2].bias[5] = -1e6  # silent
        before = agent.encoder(observation)
        with unit_activities(agent) as active:
            agent.trunk(observation)
        assert [layer.units for layer in hidden_layers(agent)] == [16, 32, 8, 8]
        assert [dormant(x, 0.0).nonzero().flatten().tolist() for x in active] == [[2], [5], [], []]
        assert learner.recycling is not None
        learner.recycling.recycle(active)
        torch.testing.assert_close(agent.encoder(observation), before)
        assert not image.conv[2].weight[:, 2].any()
        assert not image.linear.weight.unflatten(1, (32, -1))[:, 5].any()
        assert (image.linear.weight.unflatten(1, (32, -1)) == 0).flatten(2).all(2).sum() == 8  # of no other channel
        assert max(image.conv[0].bias[2].abs(), image.conv[2].bias[5].abs()) < 1


@pytest.mark.parametrize("method", [{"redo_every": 1, "redo_tau": 0.8}, {"continual_backprop": 0.3, "maturity": 0}])
def test_acting_and_learning_go_on_with_the_new_weights(method: dict[str, Any]) -> None:
    env = make_stream("cued-recall", num_envs=4, cues=3)
    agent = Agent.for_spaces(env, "gated_delta", width=8, seed=0)
    learner, rollout = PPO(agent, PPOConfig(**method)), Rollout(agent, env)
    told = [learner.learn(rollout.collect(8)) for _ in range(3)]
    assert told[0]["recycled_units"] > 0
    assert told[-1]["recycled_units"] > told[0]["recycled_units"]
    assert max(numbers["ratio_error"] for numbers in told) < 1e-4


@pytest.mark.parametrize("method", [{"redo_every": 1, "redo_tau": 0.8}, {"continual_backprop": 0.3, "maturity": 0}])
def test_several_processes_recycle_in_shared_memory(method: dict[str, Any]) -> None:
    env = make_stream("cued-recall", num_envs=4, cues=3)
    agent = Agent.for_spaces(env, "gated_delta", width=8, seed=0)
    learner, rollout = ParallelPPO(agent, PPOConfig(**method), processes=2), Rollout(agent, env)
    places = [x.data_ptr() for x in agent.policy.parameters()]
    try:
        told = [learner.learn(rollout.collect(8)) for _ in range(2)]
    finally:
        learner.close()
    assert told[0]["recycled_units"] > 0
    assert max(numbers["ratio_error"] for numbers in told) < 1e-4  # of both: each replays half of the lives
    assert [x.data_ptr() for x in agent.policy.parameters()] == places
    assert all(x.is_shared() for x in agent.policy.parameters())


def test_no_hook_stays_and_without_it_nothing_is_kept() -> None:
    agent, learner, segment = lived(segments=2, redo_every=1)
    learner.learn(segment)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in agent.modules())
    _, plain, segment = lived()
    assert plain.recycling is None
    assert "recycled_units" not in plain.learn(segment)
