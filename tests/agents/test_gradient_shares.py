from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from lifelong.agents import PPO, ActorCritic, PPOConfig, Rollout
from lifelong.agents.gradient_shares import gradient_norms
from lifelong.envs import CuedRecall

Policies = Callable[..., ActorCritic]
Streams = Callable[..., CuedRecall]
CONFIG = PPOConfig(epochs=1, minibatches=1, entropy_coef=0.0, normalize_reward="off", max_grad_norm=1e9)


def test_they_are_the_gradients_that_learning_takes(policy_for: Policies, recall: Streams) -> None:
    env = recall(4)
    policy = policy_for(env)
    segment = Rollout(policy, env).collect(12)
    weights = {name: x.clone() for name, x in policy.state_dict().items()}
    learner = PPO(policy, CONFIG)
    of_policy, of_value = gradient_norms(learner, segment, 8, 128)
    assert all(x.equal(weights[name]) for name, x in policy.state_dict().items())
    assert all(weight.grad is None for weight in policy.parameters())
    assert not learner.optimizer.state

    def squared(prefixes: tuple[str, ...]) -> float:
        found = [p.grad for name, p in policy.named_parameters() if name.startswith(prefixes)]
        return sum(float(g.square().sum()) for g in found if g is not None)

    PPO(policy, replace(CONFIG, value_coef=0.0)).learn(segment)  # its last gradient stays in the weights
    assert of_policy == pytest.approx(squared(("encoder", "backbone")) ** 0.5, rel=1e-4)
    policy.load_state_dict(weights)
    PPO(policy, CONFIG).learn(segment)
    joint = squared(("encoder", "backbone")) ** 0.5
    assert abs(of_policy - of_value) <= joint <= of_policy + of_value  # of a sum of two vectors
    assert of_value > 0


def test_the_value_counts_with_its_weight(policy_for: Policies, recall: Streams) -> None:
    env = recall(4)
    policy = policy_for(env)
    segment = Rollout(policy, env).collect(12)
    found = [gradient_norms(PPO(policy, replace(CONFIG, value_coef=c)), segment, 8, 128) for c in (0.0, 0.5, 1.0)]
    assert found[0][0] == pytest.approx(found[1][0]) == pytest.approx(found[2][0])
    assert found[0][1] == 0
    assert found[2][1] == pytest.approx(2 * found[1][1], rel=1e-4)


def test_no_more_lives_are_replayed_than_a_minibatch_has(
    policy_for: Policies, recall: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = recall(10)
    policy = policy_for(env)
    segment = Rollout(policy, env).collect(12)
    seen: list[Any] = []
    trunk = policy.trunk
    monkeypatch.setattr(policy, "trunk", lambda *arguments: seen.append(arguments[2].shape) or trunk(*arguments))
    for minibatches in (1, 4):
        gradient_norms(PPO(policy, replace(CONFIG, minibatches=minibatches)), segment, 8, 6)
    assert seen == [torch.Size([8, 6]), torch.Size([3, 6])]
