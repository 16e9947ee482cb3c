"""V-trace is GAE while the policy is the one that acted, and counts less of what it would not do again."""

import pytest
import torch

from lifelong.agents import PPO, Agent, PPOConfig, Rollout
from lifelong.agents.ppo import Given, advantages
from lifelong.agents.replay import entries
from lifelong.agents.vtrace import following, vtrace_advantages
from lifelong.envs import make_stream


def test_two_steps_by_hand() -> None:
    log_ratio = torch.tensor([[0.5, 2.0]]).log()  # the second counts as 1
    value, then = torch.tensor([[1.0, 2.0]]), torch.tensor([[9.0, 4.0]])
    never = torch.zeros(1, 2, dtype=torch.bool)
    follows = following(value, then, never)
    assert follows.tolist() == [[2.0, 4.0]]
    rate, reward = torch.full((1, 2), 0.5), torch.tensor([[3.0, 1.0]])
    found = vtrace_advantages(log_ratio, value, follows, reward, rate, never, never, 0.5)
    second = 1.0 * (1 + 0.5 * 4 - 2)
    first = 0.5 * (3 + 0.5 * 2 - 1) + 0.5 * 0.5 * 0.5 * second
    assert found[0].tolist() == pytest.approx([first, second])


def test_nothing_follows_an_end_and_the_value_of_then_a_truncation() -> None:
    value, then = torch.tensor([[1.0, 2.0, 5.0]]), torch.tensor([[7.0, 8.0, 9.0]])
    truncated = torch.tensor([[True, False, False]])
    follows = following(value, then, truncated)
    assert follows.tolist() == [[7.0, 5.0, 9.0]]
    ended = torch.tensor([[False, True, False]])
    found = vtrace_advantages(
        torch.zeros(1, 3), value, follows, torch.ones(1, 3), torch.ones(1, 3), truncated | ended, ended, 1.0
    )
    assert found[0].tolist() == [1 + 7 - 1, 1 - 2, 1 + 9 - 5]


@pytest.mark.parametrize("stream", ["cued-recall", "gym:Pendulum-v1", "gym:CartPole-v1"])
def test_it_is_gae_before_the_first_step(stream: str) -> None:
    env = make_stream(stream, 4)
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    config = PPOConfig(vtrace="on", minibatches=1, normalize_reward="off", life_gamma=0.5)
    learner, rollout = PPO(agent, config), Rollout(agent, env)
    rollout.collect(150)
    segment = rollout.collect(150)  # episodes of Pendulum are truncated after 200 steps
    batch = learner.batch(segment.steps)
    with torch.no_grad():
        hidden, _ = agent.policy.trunk(entries(segment.steps), segment.state, segment.steps["start"])
        value = agent.policy.value(hidden)
    found, target = learner._by_vtrace(batch, torch.zeros_like(value), value)
    wanted, of_gae = advantages(segment.steps, config.gamma, config.life_gamma, config.gae_lambda)
    torch.testing.assert_close(target, of_gae[..., 0], rtol=1e-4, atol=1e-4)
    scale = wanted.std(correction=0)
    torch.testing.assert_close(found, ((wanted - wanted.mean()) / scale)[..., 0], rtol=1e-3, atol=1e-3)
    env.close()


def test_a_minibatch_finds_its_advantages_anew() -> None:
    env = make_stream("cued-recall", 4)
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    learner, segment = PPO(agent, PPOConfig(vtrace="on", minibatches=2)), Rollout(agent, env).collect(16)
    given = Given(learner.batch(segment.steps), entries(segment.steps), segment.state, 1.0)
    some = torch.arange(4)
    before = learner.gradients(given, some).total
    given.batch["advantage"].fill_(torch.nan)  # that of the segment is not read
    given.batch["value_target"].fill_(torch.nan)
    assert learner.gradients(given, some).total == before
    with torch.no_grad():
        agent.policy.critic.module.bias += 1.0
    assert learner.gradients(given, some).total != before
