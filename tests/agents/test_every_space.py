"""For every kind of space an agent acts and learns, in any vector environment and alone."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lifelong.agents import PPO, Agent, Encoder, PPOConfig, Rollout
from lifelong.agents.encoder import as_tensors

SPACES: dict[str, tuple[spaces.Space[Any], str]] = {
    "floats": (spaces.Box(-2.0, 6.0, (3, 2), np.float32), "observation 3x2 by a linear map"),
    "scalar": (spaces.Box(-1.0, 1.0, (), np.float64), "observation by a linear map"),
    "integers": (spaces.Box(-5, 5, (4,), np.int64), "observation 4 by a linear map"),
    "flags": (spaces.Box(0, 1, (10, 10, 4), np.bool_), "observation 10x10x4 by a linear map"),
    "image": (spaces.Box(0, 255, (20, 24, 3), np.uint8), "observation 20x24x3 by convolutions (channels last)"),
    "image first": (spaces.Box(0, 255, (3, 20, 24), np.uint8), "3x20x24 by convolutions (channels first)"),
    "grey": (spaces.Box(0, 255, (20, 24), np.uint8), "observation 20x24 by convolutions (grey)"),
    "stacked": (spaces.Box(0, 255, (4, 20, 24, 3), np.uint8), "convolutions (stacked, channels last)"),
    "float image": (spaces.Box(0, 1, (20, 24, 3), np.float32), "convolutions (channels last)"),
    "float image first": (spaces.Box(0, 1, (3, 20, 24), np.float64), "convolutions (channels first)"),
    "discrete": (spaces.Discrete(5, start=-2), "observation by an embedding"),
    "a million": (spaces.Discrete(10**6, start=7), "observation by an embedding of two digits"),
    "multi-discrete": (spaces.MultiDiscrete([2, 3], start=[1, 1]), "observation 2 by an embedding"),
    "large and small": (spaces.MultiDiscrete([2, 10**6, 3]), "observation 3 by an embedding of two digits"),
    "bits": (spaces.MultiBinary([2, 3]), "observation 2x3 by a linear map"),
    "text": (spaces.Text(12), "observation 24 by an embedding of hashed words"),
    "dict": (
        spaces.Dict(
            picture=spaces.Box(0, 255, (3, 20, 24), np.uint8),
            task=spaces.Text(9),
            way=spaces.Discrete(4),
            more=spaces.Tuple([spaces.Text(3), spaces.MultiBinary(2)]),
        ),
        "observation/more/1 2 by a linear map",
    ),
    "tuple": (spaces.Tuple([spaces.Discrete(3), spaces.Tuple([spaces.Box(0, 1, (2,)), spaces.Text(2)])]), "by an"),
}


class Shows(gymnasium.Env[Any, Any]):
    """Shows samples of a space, and pays for the last action."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space, self.count = space, spaces.Discrete(2), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.count = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return self.observation_space.sample(), float(action), self.count % 7 == 0, self.count % 5 == 0, {}


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_a_policy_acts_and_learns_two_segments(name: str, mode: AutoresetMode) -> None:
    space, how = SPACES[name]
    env = SyncVectorEnv([lambda: Shows(space)] * 3, autoreset_mode=mode)
    agent = Agent.for_spaces(env, memory="gru", width=8, seed=0)
    assert how in agent.policy.encoder.describe()
    before = {key: value.clone() for key, value in agent.named_parameters()}
    rollout, ppo = Rollout(agent, env, seed=0), PPO(agent, PPOConfig(minibatches=1))
    for _ in range(2):
        learned = ppo.learn(rollout.collect(12))
        assert np.isfinite(list(learned.values())).all()
    changed = {key for key, value in agent.named_parameters() if not torch.equal(value, before[key])}
    assert {key for key in before if "encoder" in key} <= changed


@pytest.mark.parametrize("name", SPACES)
def test_an_agent_acts_alone_and_in_batches(name: str) -> None:
    space, _ = SPACES[name]
    env, pair = Shows(space), SyncVectorEnv([lambda: Shows(space)] * 2)
    agent = Agent.for_spaces(env, memory="gru", width=8, seed=0)
    agent.check_spaces(pair)
    obs, _ = env.reset(seed=0)
    action, _ = agent.act(obs)
    assert env.action_space.contains(action)
    obs, _ = pair.reset(seed=0)
    actions, _ = agent.act(obs)
    assert pair.action_space.contains(actions)


def test_what_a_text_says_is_seen() -> None:
    agent = Agent.for_spaces(Shows(spaces.Text(40)), memory="gru", width=8, seed=0)
    says = ["fetch a purple unicorn", "fetch a purple dragon", "a purple dragon fetch", ""]
    values = [float(agent.step(text)[0]["state_value"]) for text in says]
    assert len(set(values)) == 4
    together = agent.step(tuple(says), agent.initial_state(4))[0]["state_value"][:, 0]
    torch.testing.assert_close(together, torch.tensor(values))


def test_a_million_categories_have_two_thousand_rows_and_all_differ() -> None:
    torch.manual_seed(0)
    encoder = Encoder(spaces.Discrete(10**6), 16)
    assert encoder.choices is not None
    assert encoder.choices.table.shape == (2_000, 16)
    some = np.array([0, 1, 999, 1_000, 1_001, 2_000, 999_000, 999_999])
    with torch.no_grad():
        read = encoder(as_tensors(some, (len(some),)))
    assert torch.pdist(read).min() > 1e-3
    with pytest.raises(IndexError):
        encoder(as_tensors(np.array([10**6]), (1,)))
    rows, base = 65_537 // 257 + 1, 257
    assert Encoder(spaces.Discrete(65_537), 4).choices.table.shape[0] == rows + base - (65_537 % base == 0)  # type: ignore[union-attr]
    assert Encoder(spaces.Discrete(65_536), 4).choices.table.shape[0] == 65_536  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(10**10), "'observation' of space Discrete.*10,000,000,000 categories.*at most 16,777,216"),
        (spaces.Dict(a=spaces.Box(0, 1, (0,))), r"'observation/a' of space Box.*it is empty, of shape \[0\]"),
        (spaces.Dict(a=spaces.Dict()), r"'observation/a' of space Dict\(\): it has no entries"),
        (spaces.Tuple([]), r"'observation' of space Tuple\(\): it has no entries"),
        (spaces.Sequence(spaces.Discrete(2)), "'observation' of space Sequence.*its length varies"),
        (spaces.Tuple([spaces.Graph(spaces.Discrete(2), None)]), "'observation/0' of space Graph.*number of nodes"),
        (spaces.Dict(a=spaces.OneOf([spaces.Discrete(2)])), "'observation/a' of space OneOf.*its parts take turns"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_entry_and_the_remedy(space: spaces.Space[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Agent.for_spaces(Shows(space), memory="gru", width=8)


def test_many_entries_are_told_in_a_line() -> None:
    encoder = Encoder(spaces.Dict({f"n{i}": spaces.Box(0, 1, (2,)) for i in range(20)}), 8)
    assert encoder.describe() == "reads n0 2, n1 2, n10 2, n11 2, n12 2, 15 more by a linear map"
