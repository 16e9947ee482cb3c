from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from lifelong.agents import Agent, AgentState, CheckpointError, Rollout, load_state, save_state
from lifelong.envs import CuedRecall, TaskStream, make_stream


def loud(agent: Agent) -> Agent:
    for p in agent.parameters():  # initial heads near zero would hide the memory's effect
        torch.nn.init.normal_(p, std=0.3) if p.ndim > 1 else None
    return agent


def test_tensors_are_read_as_arrays_are() -> None:
    space = spaces.Dict(
        {
            "image": spaces.Box(-1, 1, (2,), np.float32),
            "place": spaces.Discrete(3, start=1),
            "pair": spaces.Tuple([spaces.MultiBinary(2), spaces.Box(0, 1, ())]),
        }
    )
    agent = Agent.for_spaces(Env(space, spaces.Discrete(2)), width=8, seed=0)
    half = np.full((4, 2), 0.5, np.float32)
    places, bits = np.array([1, 2, 3, 1]), np.ones((4, 2), np.int8)
    want, _ = agent.step({"image": half, "place": places, "pair": (bits, half[:, 0])})
    for image in (torch.from_numpy(half), torch.from_numpy(half).bfloat16(), torch.from_numpy(half).requires_grad_()):
        pair = torch.from_numpy(bits), torch.from_numpy(half[:, 0])
        got, state = agent.step({"image": image, "place": torch.from_numpy(places), "pair": pair})
        assert got["state_value"].equal(want["state_value"])
    agent.act({"image": half, "place": places, "pair": (bits, half[:, 0])}, state, torch.ones(4), torch.zeros(4))


def test_a_message_about_a_space_of_two_axes_is_one_line() -> None:
    agent = Agent.for_spaces(Env(spaces.MultiDiscrete([[2, 3], [4, 2]]), spaces.Discrete(2)), width=8)
    for obs in (np.full((2, 2), 9), np.zeros(3, np.int64), {"a": np.zeros((2, 2))}):
        with pytest.raises(ValueError, match=r"obs must be .*MultiDiscrete\(\[\[2 3\] \[4 2\]\]\)") as caught:
            agent.act(obs)
        assert "\n" not in str(caught.value)


def recall(**options: Any) -> CuedRecall:
    return CuedRecall(3, **({"cues": 3, "size": 4, "life_episodes": None, "blanks": 2} | options))


class Env(gymnasium.Env[Any, Any]):
    def __init__(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action


@pytest.fixture
def agent() -> Agent:
    env = Env(spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3))
    return loud(Agent.for_spaces(env, width=8, seed=0))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("carry", ["lifetime", "episode"])
@pytest.mark.parametrize("memory", ["gated_delta", "gru"])
@pytest.mark.parametrize("life_episodes", [None, 3])
def test_acting_step_by_step_is_what_a_rollout_does(
    memory: str, carry: Any, whole: bool, life_episodes: int | None
) -> None:
    lives = {"life_episodes": life_episodes, "sealed": whole}  # a raw observation cannot say that it is sealed
    agent = loud(Agent.for_spaces(recall(), memory, width=16, carry=carry, seed=0))
    torch.manual_seed(1)
    segment = Rollout(agent, recall(**lives)).collect(20).steps
    torch.manual_seed(1)
    stream, state = recall(**lives), agent.initial_state(3)
    (obs, info), reward, ended = stream.reset(), 0.0, False
    for t in range(20):
        out, state = agent.step(
            obs if whole else obs["observation"],
            state,
            reward,
            ended,
            life_end=info["life_start"],
        )
        for name in ("action_log_prob", "state_value"):
            torch.testing.assert_close(out[name], segment[name][:, t], atol=1e-6, rtol=1e-6)
        assert out["action"].equal(segment["action"][:, t])
        obs, reward, terminated, truncated, info = stream.step(out["action"].numpy())
        ended = terminated | truncated


@pytest.mark.parametrize("name", ["gym:CartPole-v1", "gym:Pendulum-v1"])
def test_acting_in_the_raw_environment_is_acting_on_its_stream(name: str) -> None:
    stream: TaskStream = make_stream(name, 1)
    agent = loud(Agent.for_spaces(stream, width=16, seed=0))
    agent.check_spaces(gymnasium.make(name.removeprefix("gym:")))
    state = raw = agent.initial_state(1)
    (obs, _), reward, ended = stream.reset(), 0.0, False
    for _ in range(60):
        seen = obs["observation"]["observation"] if isinstance(obs["observation"], dict) else obs["observation"]
        action, raw = agent.act(seen[0], raw, reward=reward, episode_end=ended, deterministic=True)
        same, state = agent.act(obs, state, deterministic=True)
        np.testing.assert_array_equal(action, same[0])
        assert stream.single_action_space.contains(action)
        obs, rewards, terminated, truncated, _ = stream.step(same)
        reward, ended = float(rewards[0]), bool(terminated[0] | truncated[0])
    assert (state.memory == raw.memory).all()


@pytest.mark.parametrize(("carry", "starts"), [("lifetime", [1, 0, 0]), ("task", [1, 0, 0]), ("episode", [1, 1, 0])])
def test_only_what_carry_names_starts_the_memory(carry: Any, starts: list[int], agent: Agent) -> None:
    agent.carry = carry
    seen = []
    outputs = agent.policy.outputs
    agent.policy.outputs = lambda obs, memory, start: (seen.append(int(start)), outputs(obs, memory, start))[1]  # type: ignore[method-assign]
    state = None
    for ended in (False, True, False):
        _, state = agent.act(np.zeros(2), state, reward=0.0, episode_end=ended)
    assert seen == starts


def test_the_history_is_what_was_done_and_paid(agent: Agent) -> None:
    seen: list[TensorDict] = []
    outputs = agent.policy.outputs
    agent.policy.outputs = lambda obs, memory, start: (seen.append(obs), outputs(obs, memory, start))[1]  # type: ignore[method-assign]
    first, state = agent.act(np.zeros((2, 2)), reward=5.0)
    second, state = agent.act(np.zeros((2, 2)), state, reward=np.array([1.0, 2.0]), episode_end=np.array([True, False]))
    _, state = agent.act(np.zeros((2, 2)), state, reward=torch.tensor([3.0, 4.0]), life_end=np.array([False, True]))
    assert [obs["previous_action"].tolist() for obs in seen] == [[3, 3], first.tolist(), [second[0], 3]]
    assert [obs["previous_reward"][:, 0].tolist() for obs in seen] == [[0, 0], [1, 2], [3, 0]]
    assert [obs["episode_start"][:, 0].tolist() for obs in seen] == [[1, 1], [1, 0], [0, 1]]


def test_actions_are_as_the_environment_takes_them() -> None:
    for space in (spaces.Discrete(3, start=5), spaces.Box(-2, 1, (2, 2), np.float64)):
        agent = loud(Agent.for_spaces(Env(spaces.Discrete(4, start=1), space), width=8, seed=0))
        single, state = agent.act(2)
        assert space.contains(single)
        agent.act(3, state, reward=0.0)
        batch, state = agent.act(np.array([1, 4]))
        assert batch.shape == (2, *space.shape)
        assert all(space.contains(action) for action in batch)
        agent.act(np.array([1, 4]), state, reward=0.0)


def test_deterministic_actions_are_the_most_probable_and_draw_nothing(agent: Agent) -> None:
    before = torch.get_rng_state()
    out, _ = agent.step(np.ones((1, 2)), deterministic=True)
    assert torch.get_rng_state().equal(before)
    for _ in range(20):
        assert agent.step(np.ones((1, 2)))[0]["action_log_prob"] <= out["action_log_prob"] + 1e-6


def test_a_state_is_left_as_it_is(agent: Agent) -> None:
    _, state = agent.act(np.ones(2))
    before = {name: x.clone() for name, x in state.tensors().items()}
    agent.act(np.ones(2), state, reward=1.0)
    assert all(x.equal(before[name]) or x.isnan().all() for name, x in state.tensors().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"obs": np.zeros(3)}, r"obs must be \[2\] or \[B, ...\] of Box.*, got \[3\]"),
        ({"obs": {"image": np.zeros(2)}}, "obs must be of Box"),
        ({"obs": np.zeros((2, 2))}, "state must be of the 2 lives of obs, got one of 1"),
        ({"reward": None}, "reward must be given, and finite, after the first step of a life"),
        ({"reward": float("nan")}, "reward must be given, and finite"),
        ({"reward": np.zeros(2)}, r"reward must be one number or \[1\], one for each life, got \[2\]"),
        ({"episode_end": np.zeros((1, 1), bool)}, r"episode_end must be one number or \[1\]"),
        ({"obs": np.zeros((0, 2))}, r"obs must be of one life or more, got \[0, 2\]"),
        ({"obs": np.ma.array(np.zeros(2), mask=[0, 1])}, "obs must hold no masked values, got 1 of 2"),
        ({"obs": np.array([0.0, np.nan])}, "obs must be finite and at most .*, got nan"),
        ({"obs": np.array([0.0, -1e39])}, r"obs must be finite and at most 3.403e\+38, got -1e\+39"),
        ({"obs": np.array(["0", "1"])}, "obs must be numbers, got <U1"),
        ({"obs": np.array([None, 1])}, "obs must be numbers, got object"),
        ({"obs": np.zeros(2, complex)}, "obs must be numbers, got complex128"),
        ({"obs": [[0.0], [0.0, 1.0]]}, "obs must be numbers that numpy reads"),
        ({"reward": "1"}, "reward must be numbers, got <U1"),
        ({"reward": np.ma.masked}, "reward must hold no masked values"),
        ({"episode_end": "False"}, "episode_end must be numbers, got <U5"),
        ({"episode_end": 0.5}, "episode_end must be true or false, or 0 and 1, got 0.5"),
        ({"life_end": [np.nan]}, r"life_end must be true or false, or 0 and 1, got \[nan\]"),
        ({"action_mask": np.ma.array([1, 1, 0], mask=[0, 0, 1])}, "action_mask must hold no masked values, got 1 of 3"),
    ],
)
def test_what_does_not_fit_is_named(arguments: dict[str, Any], message: str, agent: Agent) -> None:
    _, state = agent.act(np.zeros(2))
    with pytest.raises(ValueError, match=message):
        agent.act(**({"obs": np.zeros(2), "state": state, "reward": 0.0} | arguments))


def test_entries_and_categories_are_checked() -> None:
    space = spaces.Dict({"image": spaces.Box(0, 1, (2,), np.float32), "place": spaces.Discrete(3)})
    agent = Agent.for_spaces(Env(space, spaces.Discrete(2)), width=8)
    agent.act({"image": np.zeros(2), "place": 1})
    agent.act({"image": np.zeros((4, 2)), "place": np.zeros(4, np.int64)})
    with pytest.raises(
        ValueError, match=r"obs must be of Dict\(.*'image', 'place'.*got Dict\('image': Box.*'mission': Text"
    ):
        agent.act({"image": np.zeros(2), "place": 1, "mission": "go"})
    with pytest.raises(ValueError, match=r"obs\['place'\] must be of Discrete\(3\), got int64 3 to 3"):
        agent.act({"image": np.zeros(2), "place": 3})
    with pytest.raises(ValueError, match="obs must have one batch size in all its entries"):
        agent.act({"image": np.zeros((2, 2)), "place": 1})


def test_states_of_other_agents_are_refused_by_name(agent: Agent) -> None:
    state = agent.initial_state(1)
    other = Agent.for_spaces(Env(spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(3)), width=8)
    with pytest.raises(ValueError, match=r"state must be of the observation space .*, got one of"):
        other.act(np.zeros(3), state)
    same_spaces = Env(spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3))
    with pytest.raises(ValueError, match=r"state must have the entries \['episode_start', 'memory/0/"):
        Agent.for_spaces(same_spaces, "gru", width=8).act(np.zeros(2), state)
    with pytest.raises(ValueError, match=r"state must have memory/0/.* of shape"):
        Agent.for_spaces(same_spaces, width=16).act(np.zeros(2), state)
    with pytest.raises(TypeError, match="state must be an AgentState, as initial_state returns it, got TensorDict"):
        agent.act(np.zeros(2), state.memory)  # type: ignore[arg-type]


@pytest.mark.parametrize("memory", ["gated_delta", "lstm", "none"])
def test_a_state_is_saved_and_loaded(memory: str, tmp_path: Path) -> None:
    env = Env(spaces.Box(-1, 1, (2,), np.float32), spaces.Box(-1, 1, (2,), np.float32))
    agent, path = loud(Agent.for_spaces(env, memory, width=8, layers=2, seed=0)), tmp_path / "life.safetensors"
    _, state = agent.act(np.ones((3, 2)))
    save_state(path, state)
    again = load_state(path, agent)
    assert isinstance(again, AgentState)
    one, _ = agent.step(np.ones((3, 2)), state, reward=1.0, deterministic=True)
    two, _ = agent.step(np.ones((3, 2)), again, reward=1.0, deterministic=True)
    assert (one == two).all()
    save_state(path, agent.initial_state(2))
    assert load_state(path, agent).batch == 2


def test_files_that_are_no_state_are_refused(agent: Agent, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match="cannot read the state"):
        load_state(path, agent)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot read the state"):
        load_state(path, agent)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="is no state of an agent"):
        load_state(path, agent)
    save_state(path, Agent.for_spaces(Env(agent.observation_space["observation"], spaces.Discrete(2))).initial_state(1))
    with pytest.raises(ValueError, match="action"):
        load_state(path, agent)


def test_a_state_out_of_range_is_refused(tmp_path: Path) -> None:
    agent, path = (
        Agent.for_spaces(Env(spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)), "window"),
        tmp_path / "x",
    )
    state = agent.initial_state(2)
    for harmed, said in (
        (replace(state, previous_action=state.previous_action + 1), "previous_action that is not of Discrete"),
        (replace(state, memory=state.memory.apply(lambda x: x - 1)), r"memory/0/count must lie in 0 to \d+, got -1"),
        (replace(state, memory=state.memory.apply(lambda x: x / 0)), "must be .*int64|must be finite, got nan"),
    ):
        save_state(path, harmed)
        with pytest.raises(ValueError, match=said):
            load_state(path, agent)


def test_wrong_settings_are_named() -> None:
    env = Env(spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3))
    with pytest.raises(ValueError, match="carry must be one of lifetime, task, episode, got 'forever'"):
        Agent.for_spaces(env, carry="forever")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layers must be positive: layers=0"):
        Agent.for_spaces(env, layers=0)
    with pytest.raises(ValueError, match="width must be positive: width=0"):
        Agent.for_spaces(env, width=0)
    with pytest.raises(KeyError, match="no memory 'gated_dleta'; did you mean 'gated_delta'"):
        Agent.for_spaces(env, "gated_dleta")
    with pytest.raises(TypeError, match="env must be a gymnasium environment, got int"):
        Agent.for_spaces(3)
    with pytest.raises(ValueError, match="batch must be positive: batch=0"):
        Agent.for_spaces(env, width=8).initial_state(0)
