"""`lifelong export-policy`: the file does what the agent does, and refusals are one sentence."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lifelong import cli, load_agent
from lifelong.agents.encoder import as_tensors
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments import export_policy
from lifelong.experiments.export_policy import ExportPolicyConfig, main
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.train import main as train
from lifelong.memory import NoMemory

Tiny = Callable[..., TrainConfig]
PACKED: dict[str, Any] = {
    "stream": "rooms",
    "stream_options": ("task=empty-5x5,lavagaps5", "max_steps=4"),
    "schedule": "cyclic:48 steps",
    "life_episodes": 0,
    "boundary": "task_id",
    "heads": "task",
    "memory": "none",
    "packnet": 2,
}


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"memory": "gated_delta", "layers": 2}, {"logits"}),
        ({"memory": "gru", "stream": "gym:Pendulum-v1", "stream_options": (), "carry": "episode"}, {"loc", "scale"}),
        ({"memory": "none"}, {"logits"}),
        ({"working_memory": "gru", "residual": "gated"}, {"logits"}),
        (PACKED, {"logits"}),
    ],
)
def test_the_file_acts_as_the_agent(settings: dict[str, Any], parameters: set[str], tiny: Tiny, tmp_path: Path) -> None:
    run, output = train(tiny(**settings)).folder, tmp_path / "made" / "policy.pt2"
    assert main(ExportPolicyConfig(run, output, num_envs=2)) < 1e-4
    step, policy = torch.export.load(output).module(), load_agent(run).policy
    live, start = policy.backbone.initial_state(2), torch.tensor([True, True])
    env = make_env(
        replace(open_run(run).resolved(), num_envs=2), seed=evaluation_seed(7)
    )  # another life than the one that was compared
    obs, _ = env.reset()
    state = {"/".join(k if isinstance(k, tuple) else (k,)): x for k, x in live.items(True, True)}
    for t in range(12):
        tensors = as_tensors(obs, (2,))
        observation = {"/".join(k if isinstance(k, tuple) else (k,)): x for k, x in tensors.items(True, True)}
        with torch.no_grad():
            wanted, value, live = policy.outputs(tensors, live, start)
            outputs = step(observation, state, start)
        state = outputs["state"]
        assert set(outputs) == parameters | {"value", "state"}
        for name, want in {**wanted, "value": value}.items():
            torch.testing.assert_close(outputs[name], want, atol=1e-5, rtol=1e-5)
        obs, *_ = env.step(policy.head.taken(policy.draw(wanted, value)["action"]))
        start = torch.tensor([t == 5, False])
    env.close()


OBSERVED = spaces.Dict({"leg/knee": spaces.Box(-9, 9, (2,)), "leg": spaces.Dict({"foot/1": spaces.Discrete(3)})})
MOVED = spaces.Dict({"arm/left": spaces.Box(-np.inf, np.inf, (2,)), "grip": spaces.Box(-3000, 4000, (), np.int16)})


class Walker(gymnasium.Env[Any, Any]):
    """Slashes in the names of entries, as dm_control has them, and actions of which none is a choice."""

    observation_space, action_space = OBSERVED, MOVED

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), float(np.tanh(action["grip"])), False, False, {}


@pytest.fixture
def walker() -> Iterator[str]:
    gymnasium.register("Walker-v0", Walker, max_episode_steps=9)
    yield "gym:Walker-v0"
    del gymnasium.registry["Walker-v0"]


def test_entries_with_slashes_and_actions_without_choices(walker: str, tiny: Tiny, tmp_path: Path) -> None:
    run = train(tiny(memory="gru", stream=walker, stream_options=())).folder
    output = tmp_path / "policy.pt2"
    assert main(ExportPolicyConfig(run, output, num_envs=2)) < 1e-4
    observation, state, _ = torch.export.load(output).example_inputs[0]
    assert {"observation/leg/knee", "observation/leg/foot/1", "previous_action/arm/left"} <= observation.keys()
    assert state.keys() == {"0/h"}


def test_a_step_that_differs_is_not_written(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(export_policy.PolicyStep):
        def forward(self, observation: Any, state: Any, start: Any) -> dict[str, Any]:
            return super().forward(observation, state, torch.zeros_like(start))

    run, output = train(tiny(memory="gru")).folder, tmp_path / "policy.pt2"
    monkeypatch.setattr(export_policy, "PolicyStep", Forgetful)
    with pytest.raises(UserError, match=r"at step \d+ \S+ differs from the agent's by"):
        main(ExportPolicyConfig(run, output))
    assert not output.exists()


def test_a_memory_that_cannot_be_traced_is_refused_in_one_sentence(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def branching(self: NoMemory, x: Any, state: Any, start: Any) -> Any:
        return (x if start.any() else 2 * x), state

    run, output = train(tiny(memory="none")).folder, tmp_path / "policy.pt2"
    monkeypatch.setattr(NoMemory, "step", branching)
    capsys.readouterr()
    assert cli.main(["export-policy", str(run), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert "with the memory 'none'" in error
    assert "Could not guard on data-dependent expression" in error
    assert error.count("\n") == 1
    assert not output.exists()


def test_onnx_acts_as_the_agent(tiny: Tiny, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    run, output = train(tiny(memory="gated_delta")).folder, tmp_path / "policy.onnx"
    assert main(ExportPolicyConfig(run, output, "onnx")) < 1e-4
    session = onnxruntime.InferenceSession(output)
    assert {x.name.split("/")[0] for x in session.get_inputs()} == {"observation", "state", "start"}
    assert {x.name.split("/")[0] for x in session.get_outputs()} == {"logits", "value", "next_state"}


def test_wrong_settings_are_a_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"output must end with \.pt2 for torch-export: output="):
        ExportPolicyConfig(tmp_path, tmp_path / "policy.onnx")
    (tmp_path / "policy.pt2").touch()
    with pytest.raises(UserError, match="exists: pass --overwrite"):
        ExportPolicyConfig(tmp_path, tmp_path / "policy.pt2")
    monkeypatch.setattr("lifelong.experiments.settings.export_policy.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"format onnx needs onnx, onnxscript, onnxruntime: pip install 'lifelong-rl\[onnx"
    ):
        ExportPolicyConfig(tmp_path, tmp_path / "policy.onnx", "onnx")
