"""Scaling of numbers: by bounds, by what was observed, by their logarithm."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from lifelong.agents import PPO, Agent, Encoder, PPOConfig, Rollout
from lifelong.agents.scaling import Scaling
from lifelong.envs import make_stream

BOX = spaces.Box(np.array([-4.0, -np.inf, -1.0], np.float32), np.array([4.0, np.inf, 1.0], np.float32))
REWARD = spaces.Box(-np.inf, np.inf, (1,), np.float32)
LEAVES = {("observation",): BOX, ("previous_reward",): REWARD}


def test_before_anything_is_observed_bounds_and_logarithms_scale() -> None:
    scaling = Scaling(LEAVES, "auto")
    x = torch.tensor([[2.0, 3.0, -0.5, -7.0]])
    expected = [0.5, math.log(4), -0.5, -math.log(8)]
    assert torch.allclose(scaling(x)[0], torch.tensor(expected))


def test_by_hand() -> None:
    scaling = Scaling(LEAVES, "auto")
    scaling.update(torch.tensor([[0.0, 1.0, 0.3, 3.0], [2.0, 5.0, 0.1, -4.0]]))
    # means 1 and 3, deviations 1 and 2; the third is within [-1, 1]; root mean square of rewards sqrt(12.5)
    y = scaling(torch.tensor([[3.0, -1.0, 0.3, 12.5**0.5]]))[0]
    assert torch.allclose(y, torch.tensor([2.0, -2.0, 0.3, math.log(2)]))
    assert scaling(torch.tensor([[1e9, 0.0, 0.0, 0.0]]))[0, 0] == 10


def test_updates_in_parts_equal_one_update() -> None:
    x = torch.randn(7, 5, 4) * torch.tensor([1.0, 100.0, 0.1, 1e-3]) + 5
    whole, parts = Scaling(LEAVES, "on"), Scaling(LEAVES, "on")
    whole.update(x)
    for part in x.split(3):
        parts.update(part)
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, parts.state_dict()[name], rtol=1e-6), name
    assert torch.allclose(whole.mean, x.double().mean((0, 1)))
    assert torch.allclose(whole.deviations / 35, x.double().var((0, 1), correction=0))


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_the_size_of_rewards_does_not_count(size: float) -> None:
    scaling = Scaling(LEAVES, "auto")
    rewards = torch.tensor([0.0, 1.0, -2.0, 0.5])
    x = torch.zeros(4, 4)
    x[:, 3] = size * rewards
    scaling.update(x)
    rms = rewards.square().mean().sqrt()
    assert torch.allclose(scaling(x)[:, 3], rewards.sign() * (rewards.abs() / rms).log1p(), rtol=1e-5)


def test_what_is_constant_is_only_centred() -> None:
    scaling = Scaling(LEAVES, "auto")
    x = torch.tensor([[0.1, 1e6, 0.0, 0.0]]).repeat(1000, 1)
    scaling.update(x)
    y = scaling(x)
    assert torch.isfinite(y).all()
    assert y.abs().max() < 0.1  # the rounding of 1e6 as float32
    assert scaling(x + 1.0)[0, 0] == pytest.approx(1.0, abs=1e-3)


def test_a_value_that_is_not_finite_spoils_nothing() -> None:
    scaling = Scaling(LEAVES, "auto")
    scaling.update(torch.tensor([[0.0, 1.0, 0.0, 0.0], [math.inf, math.nan, 0.0, 0.0]]))
    assert all(torch.isfinite(value).all() for value in scaling.state_dict().values())


def test_off_keeps_nothing_and_changes_nothing() -> None:
    scaling = Scaling(LEAVES, "off")
    assert not scaling.running
    assert not scaling.state_dict()


@pytest.mark.parametrize(
    ("leaf", "mode", "normalised"),
    [
        (spaces.Box(-np.inf, np.inf, (2,), np.float32), "auto", True),
        (spaces.Box(-28.0, 28.0, (2,), np.float32), "auto", True),
        (spaces.Box(-1.0, 1.0, (2,), np.float32), "auto", False),
        (spaces.Box(-1.0, 1.0, (2,), np.float32), "on", True),
        (spaces.Box(0, 200, (2,), np.int64), "auto", False),
        (spaces.Box(0, 200, (2,), np.int64), "on", True),
        (spaces.MultiBinary(2), "auto", False),
    ],
)
def test_which_numbers_are_normalised(leaf: Any, mode: Any, normalised: bool) -> None:
    scaling = Scaling({("observation",): leaf, ("previous_reward",): REWARD}, mode)
    assert scaling.normalised.tolist() == [normalised] * 2 + [False]


def test_the_action_before_is_never_normalised() -> None:
    scaling = Scaling({("observation",): BOX, ("previous_action",): BOX, ("episode_start",): REWARD}, "on")
    assert scaling.normalised.tolist() == [True] * 3 + [False] * 4


def test_bad_words_and_spaces_without_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="normalize must be one of auto, on, off, got 'maybe'"):
        Encoder(spaces.Dict({"observation": BOX}), 8, "maybe")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="holds no numbers, got 'on'"):
        Encoder(spaces.Dict({"observation": spaces.Discrete(3), "previous_reward": REWARD}), 8, "on")


def agent_and_rollout(normalize: Any = "auto") -> tuple[Agent, Rollout]:
    env = make_stream("gym:Acrobot-v1", num_envs=4)
    agent = Agent.for_spaces(env, width=16, memory="gru", normalize_observation=normalize, seed=0)
    return agent, Rollout(agent, env, seed=0)


def test_learning_replays_what_acting_saw() -> None:
    agent, rollout = agent_and_rollout()
    learner = PPO(agent, PPOConfig(epochs=1, minibatches=2))
    for _ in range(3):
        assert learner.learn(rollout.collect(16))["ratio_error"] < 1e-5
    scaling = agent.policy.encoder.numbers.scaling
    assert scaling.count == 3 * 4 * 16
    assert scaling.normalised.sum() == 2  # the velocities


def test_acting_alone_changes_no_statistic() -> None:
    agent, rollout = agent_and_rollout()
    PPO(agent, PPOConfig(epochs=1)).learn(rollout.collect(16))
    before = copy.deepcopy(agent.state_dict())
    rollout.collect(32)
    for name, value in agent.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_weights_carry_the_statistics() -> None:
    agent, rollout = agent_and_rollout()
    PPO(agent, PPOConfig(epochs=1)).learn(rollout.collect(16))
    other, _ = agent_and_rollout()
    other.load_state_dict(agent.state_dict())
    observation: TensorDict = rollout.observation
    assert torch.equal(agent.policy.encoder(observation), other.policy.encoder(observation))
