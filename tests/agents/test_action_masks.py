"""Action masks while acting and while learning."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lifelong.agents import PPO, Agent, HistoryWrapper, PPOConfig, Rollout
from lifelong.agents.cuda_graph import CudaGraphPolicy
from lifelong.envs import GymStream, GymTask


class Gate(gymnasium.Env[Any, Any]):
    """Half of the choices are illegal, other ones in every step; counts those that were taken nonetheless."""

    illegal = 0

    def __init__(self, act: spaces.Space[Any], where: str = "info", empty: bool = False) -> None:
        self.action_space, self.where, self.empty = act, where, empty
        self.sizes = np.reshape(getattr(act, "nvec", getattr(act, "n", 0)), -1)
        self.first = np.cumsum(self.sizes) - self.sizes
        rng = np.random.default_rng(0)
        self.masks = [np.concatenate([rng.permutation(n) < n // 2 for n in self.sizes]) for _ in range(64)]
        box = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = box
        if where == "observation":
            self.observation_space = spaces.Dict(look=box, action_mask=spaces.Box(0, 1, (self.sizes.sum(),), np.int8))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self._shown()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Gate.illegal += not self.mask[
            self.first + np.reshape(action, -1) - np.reshape(self.action_space.start, -1)
        ].all()
        self.count += 1
        obs, info = self._shown()
        return obs, float(np.sum(action)) + float(self.np_random.normal()), self.count == 9, self.count == 9, info

    def _shown(self) -> tuple[Any, dict[str, Any]]:
        self.mask = self.masks[self.np_random.integers(len(self.masks))]
        told = np.zeros_like(self.mask) if self.empty and self.count == 3 else self.mask
        look = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        if self.where == "observation":
            return {"look": look, "action_mask": told.astype(np.int8)}, {}
        return look, {"action_mask": told.astype(np.int8)}


@pytest.fixture(autouse=True)
def gate() -> Iterator[None]:
    gymnasium.register("Gate-v0", Gate)
    Gate.illegal = 0
    yield
    del gymnasium.registry["Gate-v0"]


SPACES = {"discrete": spaces.Discrete(6, start=2), "multi-discrete": spaces.MultiDiscrete([4, 2, 6], start=[1, 0, 5])}


def stream_of(num_envs: int, **kwargs: Any) -> GymStream:
    return GymStream(GymTask("gate", env_id="Gate-v0", kwargs=kwargs), num_envs)


def vector_of(num_envs: int, mode: AutoresetMode, **kwargs: Any) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: Gate(**kwargs)] * num_envs, autoreset_mode=mode)


def unmasked(rollout: Rollout, steps: int) -> int:
    """Return how many illegal actions the same policy takes when it is told no masks."""
    rollout.policy.mask_of = lambda *_: None  # type: ignore[method-assign]
    Gate.illegal = 0
    rollout.observe(*rollout.env.reset())
    rollout.collect(steps)
    return Gate.illegal


@pytest.mark.parametrize("segments", [1, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("where", ["info", "observation"])
@pytest.mark.parametrize("name", SPACES)
def test_half_are_illegal_and_none_of_2_000_or_100_000_steps_takes_one(name: str, where: str, segments: int) -> None:
    env = stream_of(100, act=SPACES[name], where=where)
    rollout = Rollout(Agent.for_spaces(env, "none", width=8, seed=0), env)
    for _ in range(segments):
        steps = rollout.collect(20).steps
        assert steps["action_mask"].float().mean() == 0.5
        assert steps["action_log_prob"].isfinite().all()
    assert Gate.illegal == 0
    assert unmasked(rollout, 10) > 400


@pytest.mark.parametrize("memory", ["gated_delta", "gru", "none"])
@pytest.mark.parametrize("name", SPACES)
def test_learning_sees_the_masks_that_acting_saw(name: str, memory: str) -> None:
    env = stream_of(8, act=SPACES[name])
    agent = Agent.for_spaces(env, memory, width=16, seed=0)
    with torch.no_grad():
        for p in agent.parameters():
            torch.nn.init.normal_(p, std=0.3) if p.ndim > 1 else None
    rollout, learner = Rollout(agent, env), PPO(agent, PPOConfig(epochs=2, minibatches=2, lr=1e-2))
    for _ in range(3):
        report = learner.learn(rollout.collect(24))
        assert report["ratio_error"] <= 1e-5
        assert all(np.isfinite(list(report.values())))
        assert 0 < report["entropy_share"] <= 1.0001
    assert Gate.illegal == 0
    segment = rollout.collect(32)
    segment.steps["action_mask"] = torch.ones_like(segment.steps["action_mask"])
    assert learner.learn(segment)["ratio_error"] > 0.1  # without them the ratio is another


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("where", ["info", "observation"])
@pytest.mark.parametrize("name", SPACES)
def test_masks_of_a_vector_environment_are_applied(name: str, where: str, mode: AutoresetMode) -> None:
    env = vector_of(5, mode, act=SPACES[name], where=where)
    rollout = Rollout(Agent.for_spaces(env, "gru", width=8, seed=0), env, seed=1)
    learner = PPO(rollout.policy, PPOConfig(epochs=1, minibatches=1))
    for _ in range(2):
        assert learner.learn(rollout.collect(25))["ratio_error"] <= 1e-5
    assert Gate.illegal == 0
    assert isinstance(rollout.env, HistoryWrapper)


@pytest.mark.parametrize("where", ["info", "observation"])
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", SPACES)
def test_an_agent_acts_by_the_mask(name: str, deterministic: bool, where: str) -> None:
    env = Gate(SPACES[name], where)
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    obs, info = env.reset(seed=0)
    state, reward = None, None
    for _ in range(50):
        action, state = agent.act(
            obs, state, reward=reward, action_mask=info.get("action_mask"), deterministic=deterministic
        )
        assert env.action_space.contains(action)
        obs, reward, *ended, info = env.step(action)
        if any(ended):
            obs, info = env.reset()
    assert Gate.illegal == 0


class Doors(gymnasium.Env[Any, Any]):
    """Actions and masks are dicts; of the two doors one is shut, of the three keys one fits."""

    action_space = spaces.Dict(door=spaces.Discrete(2), key=spaces.Discrete(3), push=spaces.Box(0, 1, (1,)))

    def __init__(self, where: str) -> None:
        self.where, look = where, spaces.Box(-1, 1, (2,), np.float32)
        masks = spaces.Dict(door=spaces.MultiBinary(2), key=spaces.MultiBinary(3))
        self.observation_space = spaces.Dict(look=look, action_mask=masks) if where == "observation" else look

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self._shown()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert [action["door"], action["key"]] == self.open
        self.count += 1
        obs, info = self._shown()
        return obs, float(action["push"][0]), self.count == 9, False, info

    def _shown(self) -> tuple[Any, dict[str, Any]]:
        self.open = [int(self.np_random.integers(2)), int(self.np_random.integers(3))]
        door, key = (np.eye(n, dtype=np.int8)[i] for n, i in zip((2, 3), self.open, strict=True))
        look = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        masks = {"door": door, "key": key}
        return (
            ({"look": look, "action_mask": masks}, {})
            if self.where == "observation"
            else (look, {"action_mask": masks})
        )


@pytest.mark.parametrize("where", ["info", "observation"])
def test_masks_by_the_names_of_the_actions(where: str) -> None:
    env = SyncVectorEnv([lambda: Doors(where)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    assert Rollout(agent, env, seed=1).collect(25).steps["action_mask"].sum() == 3 * 25 * 2
    one = Doors(where)
    obs, info = one.reset(seed=0)
    one.step(agent.act(obs, action_mask=info.get("action_mask"))[0])


def test_a_mask_that_leaves_nothing_is_an_error() -> None:
    env = vector_of(2, AutoresetMode.SAME_STEP, act=SPACES["discrete"], empty=True)
    rollout = Rollout(Agent.for_spaces(env, "none", width=8), env)
    with pytest.raises(ValueError, match="action_mask must leave something to choose, but all is illegal"):
        rollout.collect(5)
    agent = Agent.for_spaces(Gate(SPACES["discrete"]), "none", width=8)
    with pytest.raises(ValueError, match=r"all is illegal: \[0, 0, 0, 0, 0, 0\]"):
        agent.act(np.zeros(2, np.float32), action_mask=[0] * 6)
    with pytest.raises(ValueError, match=r"must have 6 numbers.*got \[5\]"):
        agent.act(np.zeros(2, np.float32), action_mask=[1] * 5)


def test_masks_apply_outside_of_a_cuda_graph() -> None:
    env = stream_of(4, act=SPACES["discrete"])
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    rollout = Rollout(agent, env)
    graph = CudaGraphPolicy(agent.policy, capture=lambda function: function)
    mask = torch.tensor([False, False, True, False, False, False]).expand(4, -1)
    policy_out, _ = graph.act(rollout.observation, rollout.state, rollout.start, mask=mask)
    assert policy_out["action"].tolist() == [2] * 4
    assert policy_out["action_log_prob"].tolist() == [0.0] * 4


def test_only_one_legal_choice_teaches_nothing_and_breaks_nothing() -> None:
    env = stream_of(4, act=spaces.Discrete(2))
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    report = PPO(agent, PPOConfig(epochs=1, minibatches=1, entropy_coef=2.0)).learn(Rollout(agent, env).collect(16))
    assert report["entropy"] == 0
    assert report["ratio_error"] == 0
    assert "entropy_share" not in report
    assert all(p.isfinite().all() for p in agent.parameters())
