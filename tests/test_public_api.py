"""The names of `lifelong` itself, and the programs of docs/library.md and docs/own-loop.md."""

import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

import lifelong
from lifelong import Agent, PPOConfig, Rollout, TrainConfig, evaluate, load_agent, load_state, make_stream, save_state
from lifelong.experiments.runs.build import make_agent

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str = "library.md") -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def lines(block: str) -> int:
    return sum(1 for line in block.splitlines() if line.strip())


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a short training on CartPole."""
    runs = tmp_path_factory.mktemp("home") / "runs"
    config = TrainConfig(
        "gym:CartPole-v1", name="x", runs=runs, steps=1000, num_envs=4, width=16, segment=32, evaluation_lives=0
    )
    return lifelong.train(config).folder


def test_importing_loads_the_standard_library_only() -> None:
    """A fresh process: no torch, triton, numba, gymnasium, tensordict, torchrl, numpy or anything else that is slow."""
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
before = set(sys.modules)
import lifelong
loaded = {{name.partition(".")[0] for name in sys.modules.keys() - before}}
print(*sorted(loaded - sys.stdlib_module_names))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["lifelong"]


@pytest.mark.parametrize("name", lifelong.__all__)
def test_every_public_name_is_found(name: str) -> None:
    assert getattr(lifelong, name).__name__ == name
    assert name in dir(lifelong)


def test_an_unknown_name_is_an_attribute_error_with_a_guess() -> None:
    with pytest.raises(AttributeError, match="'Agents'; did you mean 'Agent'"):
        lifelong.Agents  # noqa: B018


def test_a_loop_of_ones_own_in_twelve_lines(capsys: pytest.CaptureFixture[str]) -> None:
    loop = blocks("own-loop.md")[0]
    assert lines(loop) <= 12
    exec(loop, {})  # noqa: S102  the page's own lines
    assert "2048" in capsys.readouterr().out


def test_a_trained_agent_acts_in_eight_lines(cartpole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acting = blocks()[0]
    assert lines(acting) <= 8
    monkeypatch.chdir(cartpole.parents[1])
    names: dict[str, object] = {}
    exec(acting, names)  # noqa: S102  the page's own lines
    names["agent"].check_state(names["state"])  # type: ignore[attr-defined]


def test_streams_are_made_by_torchrl(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks()[1], {})  # noqa: S102  the page's own lines
    assert capsys.readouterr().out.count("tensor(") == 2


def test_torchrl_carries_memories_over_episodes(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks()[2], {})  # noqa: S102  the page's own lines
    assert capsys.readouterr().out == "16 lives of 800 episodes\n"


def test_a_loaded_agent_has_the_runs_weights_and_leaves_torchs_random_state(cartpole: Path) -> None:
    before = torch.get_rng_state()
    agent, again = load_agent(cartpole), load_agent(str(cartpole))
    assert torch.get_rng_state().equal(before)
    assert agent.carry == "lifetime"
    weights = agent.policy.state_dict()
    assert all(x.equal(weights[name]) for name, x in again.policy.state_dict().items())
    new = Agent.for_spaces(gymnasium.make("CartPole-v1"), width=16, seed=0).policy.state_dict()
    assert weights.keys() == new.keys()
    assert not all(x.equal(weights[name]) for name, x in new.items())


def test_a_loaded_agent_acts_in_the_environment_of_its_stream_and_in_no_other(cartpole: Path) -> None:
    agent = load_agent(cartpole)
    agent.check_spaces(gymnasium.make("CartPole-v1"))
    agent.check_spaces(gymnasium.make_vec("CartPole-v1", num_envs=2))
    agent.check_spaces(make_stream("gym:CartPole-v1"))
    with pytest.raises(ValueError, match=r"^env must have the agent's observation space .*\(4,\).*, got .*\(2,\)"):
        agent.check_spaces(gymnasium.make("MountainCar-v0"))


def test_a_state_goes_to_another_process(cartpole: Path, tmp_path: Path) -> None:
    agent, obs = load_agent(cartpole), np.zeros(4, np.float32)
    _, state = agent.act(obs)
    save_state(tmp_path / "life.safetensors", state)
    again = load_state(tmp_path / "life.safetensors", load_agent(cartpole))
    expected, _ = agent.step(obs, state, reward=1.0, deterministic=True)
    found, _ = agent.step(obs, again, reward=1.0, deterministic=True)
    assert (expected == found).all()


def test_evaluation_writes_the_report_of_a_run(cartpole: Path) -> None:
    evaluate(cartpole, steps=100, lives=2)
    assert any((cartpole / "report").iterdir())


def test_for_spaces_makes_the_same_weights_as_a_training_of_that_seed() -> None:
    stream = make_stream("cued-recall", 2)
    config = TrainConfig("cued-recall", seed=3, width=16, layers=2, residual="gated").resolved()
    with torch.random.fork_rng():
        trained = make_agent(config, stream).state_dict()
    own = Agent.for_spaces(
        stream, width=16, layers=2, residual="gated", seed=3, normalize_observation="off"
    ).policy.state_dict()
    assert trained.keys() == own.keys()
    assert all(x.equal(own[name]) for name, x in trained.items())


def test_agent_rollout_and_ppo_make_a_training_of_a_stream() -> None:
    stream = make_stream("cued-recall", 8, life_episodes=20)
    agent = Agent.for_spaces(stream, width=16, seed=0)
    rollout = Rollout(agent, stream)
    learner = lifelong.PPO(agent, PPOConfig(minibatches=2))
    assert learner.learn(rollout.collect(16))["ratio_error"] < 1e-4


def test_rollout_refuses_autoreset_in_the_next_step() -> None:
    env = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    with pytest.raises(ValueError, match="autoreset mode SAME_STEP or DISABLED, got NEXT_STEP"):
        Rollout(Agent.for_spaces(env, width=8), env)
