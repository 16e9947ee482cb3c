"""What an environment gets is what the agent observes next, in a rollout and in a loop of one's own."""

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lifelong.action_spaces import as_actions, from_zero, previous_entry
from lifelong.agents import PPO, Agent, PPOConfig, Rollout
from lifelong.agents.encoder import as_tensors

SPACES: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3, start=2),
    "multi-discrete": spaces.MultiDiscrete([[2, 3]], start=[[4, -1]]),
    "multi-binary": spaces.MultiBinary(3),
    "half bounded": spaces.Box(0, np.inf, (2,), np.float32),
    "integers": spaces.Box(-1, 1, (2,), np.int64),
    "half floats": spaces.Box(-1, 1, (2,), np.float16),
    "booleans": spaces.Box(0, 1, (3,), np.bool_),
    "wide integers": spaces.Box(-999, 999, (2,), np.int32),
    "partly fixed": spaces.Box(np.array([-1, 3], np.float32), np.array([1, 3], np.float32)),
    "dict": spaces.Dict(
        a=spaces.Tuple([spaces.Discrete(3, start=1), spaces.Box(-np.inf, 0, (2,), np.float32)]), b=spaces.MultiBinary(2)
    ),
}


class Diary(gymnasium.Env[Any, Any]):
    """Keeps a copy of each action, then writes over it."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, act: spaces.Space[Any]) -> None:
        self.action_space, self.did = act, []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.did.append(copy.deepcopy(action))
        for leaf in leaves(action):
            if isinstance(leaf, np.ndarray):
                leaf[...] = 0
        ended = len(self.did) % 5 == 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), 1.0, ended, False, {}


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict | tuple):
        return [leaf for part in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(part)]
    return [tree]


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("name", SPACES)
def test_a_rollout_observes_what_the_environments_got(name: str, mode: AutoresetMode) -> None:
    env = SyncVectorEnv([lambda: Diary(SPACES[name])] * 3, autoreset_mode=mode)
    rollout = Rollout(Agent.for_spaces(env, "gru", width=8, seed=0), env, seed=0)
    steps = rollout.collect(8).steps
    own, space = SPACES[name], from_zero(SPACES[name])
    rows = np.stack([rollout.policy.head.executed(steps["action"][:, t]) for t in range(8)], 1)
    for slot, diary in enumerate(env.envs):
        for t, action in enumerate(diary.did):
            for got, want in zip(leaves(action), leaves(as_actions(own, rows[slot, t])), strict=True):
                np.testing.assert_array_equal(got, want)
    shown = {"previous_action": steps["observation", "previous_action"][:, 1:]}
    want = {"previous_action": previous_entry(space, rows[:, :-1].reshape(21, *rows.shape[2:]))}
    for path, x in as_tensors(want, (21,)).items(True, True):
        torch.testing.assert_close(shown["previous_action"].flatten(0, 1)[path[1:]] if isinstance(path, tuple) else
                                   shown["previous_action"].flatten(0, 1), x, rtol=0, atol=0)  # fmt: skip
    report = PPO(rollout.policy, PPOConfig(epochs=1, minibatches=1)).learn(rollout.collect(8))
    assert report["ratio_error"] <= 1e-5


@pytest.mark.parametrize("name", SPACES)
def test_an_agent_that_acts_alone_remembers_what_it_did(name: str) -> None:
    env, space = Diary(SPACES[name]), from_zero(SPACES[name])
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    obs, state, reward = env.reset(seed=0)[0], None, None
    for _ in range(4):
        action, state = agent.act(obs, state, reward=reward)
        obs, reward, *_ = env.step(action)
        executed = as_actions(SPACES[name], state.previous_action[0].numpy())
        for got, want in zip(leaves(env.did[-1]), leaves(executed), strict=True):
            np.testing.assert_array_equal(got, want)
    batch, _ = agent.act(np.stack([obs] * 3))
    own = [Diary(SPACES[name]) for _ in range(3)]
    vector = SyncVectorEnv([lambda env=env: env for env in own])
    vector.reset(seed=0)
    vector.step(batch)
    assert agent.action_space == SPACES[name]
    assert agent.policy.head.space == space
