from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lifelong.agents import ActorCritic, Agent, Backbone, Encoder, HistoryWrapper, Rollout
from lifelong.agents.history import has_history, space_with_history
from lifelong.envs import make_stream
from lifelong.memory import make_memory

LENGTHS = (2, 3)


class Counter(gymnasium.Env[Any, Any]):
    """Environment: observation 10 episode + step, reward the action; terminates, or is truncated."""

    def __init__(self, length: int, truncated: bool, observation: str = "box", first_action: int = 0) -> None:
        box = spaces.Box(-100, 100, (1,), np.float32)
        self.observation_space = {"box": box, "dict": spaces.Dict({"here": box}), "tuple": spaces.Tuple((box,))}[
            observation
        ]
        self.action_space = spaces.Discrete(2, start=first_action)
        self.length, self.truncated, self.observation, self.episode = length, truncated, observation, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.now, self.episode = 0, self.episode + 1
        return self._shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.now += 1
        ended = self.now == self.length
        return self._shown(), float(action), ended and not self.truncated, ended and self.truncated, {}

    def _shown(self) -> Any:
        box = np.array([10 * self.episode + self.now], np.float32)
        return {"box": box, "dict": {"here": box}, "tuple": (box,)}[self.observation]


def counters(mode: AutoresetMode, **options: Any) -> SyncVectorEnv:
    return SyncVectorEnv(
        [lambda n=n, cut=cut: Counter(n, cut, **options) for n, cut in zip(LENGTHS, (False, True), strict=True)],
        autoreset_mode=mode,
    )


MODES = pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])


@MODES
def test_history_and_flags_follow_the_episodes(mode: AutoresetMode) -> None:
    env = HistoryWrapper(counters(mode))
    obs, info = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    assert obs["observation"][:, 0].tolist() == [10, 10]
    assert obs["previous_action"].tolist() == [2, 2]
    assert info["life_start"].all()
    assert info["episode_start"].all()
    seen, starts, final, rows = [], [], {}, []
    for t in range(1, 7):
        actions = np.array([t % 2, 1])
        obs, reward, terminated, truncated, info = env.step(actions)
        assert env.observation_space.contains(obs)
        np.testing.assert_array_equal(obs["previous_action"], actions)
        np.testing.assert_array_equal(obs["previous_reward"][:, 0], reward)
        np.testing.assert_array_equal(obs["episode_start"][:, 0], terminated | truncated)
        np.testing.assert_array_equal(info["episode_start"], terminated | truncated)
        assert not info["life_start"].any()
        seen.append(obs["observation"][:, 0].tolist())
        starts.append(info["episode_start"].tolist())
        if truncated.any():
            final[t] = info["final_obs"]
        if "episodes" in info:
            rows.append(info["episodes"])
    assert seen == [[11, 11], [20, 12], [21, 20], [30, 21], [31, 22], [40, 30]]
    assert final.keys() == {3, 6}
    assert final[3]["observation"][1, 0] == 13
    assert final[3]["episode_start"][1, 0] == 0
    assert final[3]["previous_action"][1] == 1
    assert [row["length"].tolist() for row in rows] == [[2], [3], [2], [2, 3]]
    assert [row["return"].tolist() for row in rows] == [[1], [3], [1], [1, 3]]
    assert [row["episode"].tolist() for row in rows] == [[0], [0], [1], [2, 1]]


@MODES
@pytest.mark.parametrize("observation", ["box", "dict", "tuple"])
@pytest.mark.parametrize("first_action", [0, 1])
def test_a_rollout_takes_any_vector_environment(mode: AutoresetMode, observation: str, first_action: int) -> None:
    env = counters(mode, observation=observation, first_action=first_action)
    agent = Agent.for_spaces(env, width=8, seed=0)
    rollout = Rollout(agent, env)
    steps = rollout.collect(6).steps
    assert steps["start"].tolist() == [[True] + 5 * [False]] * 2
    assert steps["observation", "previous_action"][:, 1:].equal(steps["action"][:, :-1])
    assert steps["next", "truncated"][..., 0].tolist() == [6 * [False], [False, False, True, False, False, True]]
    assert steps["next", "episode_end"][..., 0].tolist() == [3 * [False, True], 2 * [False, False, True]]
    assert (steps["next", "reward"][..., 0] == steps["action"] + first_action).all()
    again = rollout.collect(6).steps
    assert not again["start"].any()


@MODES
def test_carry_episode_starts_the_memory_with_every_episode(mode: AutoresetMode) -> None:
    env = counters(mode)
    steps = Rollout(Agent.for_spaces(env, width=8, carry="episode"), env).collect(6).steps
    assert steps["start"].tolist() == [3 * [True, False], 2 * [True, False, False]]


def test_a_policy_without_history_gets_none() -> None:
    env = counters(AutoresetMode.SAME_STEP, observation="dict")
    encoder = Encoder(env.single_observation_space, 8)
    policy = ActorCritic(encoder, Backbone([make_memory("gru", 8)]), env.single_action_space)
    assert set(Rollout(policy, env).collect(4).steps["observation"].keys()) == {"here"}


def test_the_first_and_the_final_observation_are_kept_where_an_environment_writes_over_them() -> None:
    env = SyncVectorEnv([lambda: Counter(3, True)], autoreset_mode=AutoresetMode.SAME_STEP, copy=False)
    steps = Rollout(Agent.for_spaces(env, width=8), env).collect(4).steps
    assert steps["observation", "observation"][0, :, 0].tolist() == [10, 11, 12, 20]


def test_the_space_is_that_of_task_streams() -> None:
    for name in ("cued-recall", "gym:Pendulum-v1"):
        stream = make_stream(name)
        assert has_history(stream.single_observation_space)
        space = space_with_history(stream.single_observation_space["observation"], stream.single_action_space)
        assert space == stream.single_observation_space


def test_what_is_no_vector_environment_is_refused() -> None:
    env = Counter(2, False)
    with pytest.raises(TypeError, match="env must be a gymnasium VectorEnv"):
        Rollout(Agent.for_spaces(env, width=8), env)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="policy must be an Agent or an ActorCritic, got Linear"):
        Rollout(torch.nn.Linear(1, 1), counters(AutoresetMode.SAME_STEP))  # type: ignore[arg-type]
