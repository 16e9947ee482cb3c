"""A working memory in front of the memory for life: it starts anew with every episode, the other does not."""

import gymnasium
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from lifelong.agents import PPO, ActorCritic, Agent, Backbone, Encoder, PPOConfig, Rollout
from lifelong.envs import make_stream
from lifelong.memory import make_memory


def backbone() -> Backbone:
    torch.manual_seed(0)
    return Backbone([make_memory("gated_delta", 16)], working=[make_memory("gru", 16)])


def test_only_the_working_memory_starts_anew_with_an_episode() -> None:
    model, x = backbone(), torch.randn(3, 16)
    _, state = model.step(torch.randn(3, 16), model.initial_state(3), torch.ones(3, dtype=torch.bool))
    no, yes = torch.zeros(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    _, anew = model.step(x, state, no, yes)
    emptied = state.clone()
    emptied["working_0"] = model.initial_state(3)["working_0"]
    _, by_hand = model.step(x, emptied, no, no)
    for key in by_hand.keys(True, True):
        assert torch.equal(anew[key], by_hand[key]), key
    _, went_on = model.step(x, state, no, no)
    empty = model.initial_state(3)
    assert any(not torch.equal(x, empty["0", key]) for key, x in anew["0"].items())
    assert any(not torch.equal(x, went_on["working_0", key]) for key, x in anew["working_0"].items())


def test_steps_equal_one_pass_and_gradients_flow_through_both() -> None:
    model, x = backbone(), torch.randn(2, 9, 16, requires_grad=True)
    start = torch.zeros(2, 9, dtype=torch.bool)
    episode = torch.rand(2, 9) < 0.3
    start[:, 0] = True
    y, after = model(x, model.initial_state(2), start, episode)
    state, ys = model.initial_state(2), []
    for t in range(9):
        y_t, state = model.step(x[:, t], state, start[:, t], episode[:, t])
        ys.append(y_t)
    assert torch.allclose(y, torch.stack(ys, 1), atol=1e-5)
    for key in after.keys(True, True):
        assert torch.allclose(after[key], state[key], atol=1e-5), key
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.working.parameters())


def test_its_bytes_are_counted() -> None:
    assert backbone().state_bytes == make_memory("gated_delta", 16).state_bytes + make_memory("gru", 16).state_bytes


def test_acting_and_learning_agree() -> None:
    env = make_stream("gym:CartPole-v1", num_envs=4)
    agent = Agent.for_spaces(env, width=16, working_memory="gru", seed=0)
    rollout, learner = Rollout(agent, env, seed=0), PPO(agent, PPOConfig(epochs=1, minibatches=2))
    for _ in range(3):
        segment = rollout.collect(32)
        assert learner.learn(segment)["ratio_error"] < 1e-4
    assert segment.steps["observation", "episode_start"].sum() > 0


def test_it_needs_to_know_where_episodes_start() -> None:
    space = spaces.Dict({"observation": spaces.Discrete(3)})
    with pytest.raises(ValueError, match="needs the entry episode_start"):
        ActorCritic(Encoder(space, 16), backbone(), spaces.Discrete(2))


def test_widths_must_agree() -> None:
    with pytest.raises(ValueError, match="one width, got \\[8, 16\\]"):
        Backbone([make_memory("gru", 16)], working=[make_memory("gru", 8)])


def test_every_layer_has_one_or_none() -> None:
    with pytest.raises(ValueError, match="one for each of the 2 layers, or none; got 1"):
        Backbone([make_memory("gru", 8)] * 2, working=[make_memory("gru", 8)])


def test_state_fits_the_agent() -> None:
    env = gymnasium.make("CartPole-v1")
    agent = Agent.for_spaces(env, width=16, working_memory="gru", seed=0)
    state = agent.initial_state(1)
    assert isinstance(state.memory, TensorDict)
    obs, _ = env.reset(seed=0)
    _, after = agent.act(obs, state)
    agent.check_state(after)
