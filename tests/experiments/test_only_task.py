"""`lifelong train --only-task NAME`: the single-task reference of a stream, in the spaces of all its tasks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from lifelong import cli
from lifelong.experiments.metrics.forward_transfer import forward_transfer_auc
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]
ROOMS: dict[str, Any] = {
    "stream": "rooms",
    "stream_options": ("task=empty-5x5,lavagaps5", "max_steps=4"),
    "schedule": "block:96 steps",
    "life_episodes": 0,
    "steps": 192,
}


def names(folder: Path) -> set[str]:
    return {*read_episodes(folder, columns=["task_name"])["task_name"].tolist()}


def test_only_one_task_comes_and_the_run_says_which(tiny: Configs) -> None:
    config = tiny(name=None, only_task="lavagaps5", **ROOMS)
    outcome = main(config)
    assert outcome.folder.name == "rooms-gated_delta-only-lavagaps5-seed0"
    assert tiny(name="mine", only_task="lavagaps5", **ROOMS).run.name == "mine"
    assert json.loads((outcome.folder / "config.json").read_text())["config"]["only_task"] == "lavagaps5"
    assert open_run(outcome.folder).only_task == "lavagaps5"
    rows = read_episodes(outcome.folder, ["train"])
    assert {*rows["task"].tolist()} == {1}  # the number that it has among all tasks
    assert names(outcome.folder) == {"lavagaps5"}
    sequence = main(tiny(name="sequence", **ROOMS))
    assert names(sequence.folder) == {"empty-5x5", "lavagaps5"}
    assert not np.isnan(forward_transfer_auc(read_episodes(sequence.folder, ["train"]), rows, 1, stretches=4))


def test_spaces_and_weights_are_those_of_all_tasks(tiny: Configs, tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    tasks = "".join(f'[[tasks]]\nenv = "{env_id}"\n' for env_id in ("CartPole-v1", "Acrobot-v1"))
    path.write_text(f"unify = true\n{tasks}")
    settings: dict[str, Any] = {"stream": str(path), "stream_options": (), "life_episodes": 0, "steps": 64}
    whole, only = (main(tiny(name=f"{task}", only_task=task, **settings)) for task in (None, "Acrobot-v1"))
    shapes = [
        {name: tensor.shape for name, tensor in load_file(run.folder / "checkpoints/last/policy.safetensors").items()}
        for run in (whole, only)
    ]
    assert shapes[0] == shapes[1]
    env = make_env(open_run(only.folder))
    assert env.single_observation_space == make_env(open_run(whole.folder)).single_observation_space
    assert [task.name for task in env.tasks] == ["CartPole-v1", "Acrobot-v1"]
    assert (env.reset()[1]["task"] == 1).all()


def test_a_kind_of_drifts_can_be_the_only_task(tiny: Configs) -> None:
    options = (*ROOMS["stream_options"], "drifts=plain/reversed_actions", "drift_schedule=cyclic:2")
    task = "empty-5x5, reversed_actions"
    outcome = main(tiny(**ROOMS | {"stream_options": options, "schedule": "cyclic:1"}, only_task=task))
    assert names(outcome.folder) == {task}


def test_it_goes_on_with_its_only_task_to_the_same_bits(tiny: Configs) -> None:
    settings = ROOMS | {"only_task": "lavagaps5", "evaluation_lives": 2}
    whole, half = main(tiny(name="whole", **settings)), main(tiny(name="half", **settings | {"steps": 96}))
    content = json.loads((half.folder / "config.json").read_text())
    content["config"]["steps"] = 192
    (half.folder / "config.json").write_text(json.dumps(content))
    outcome = main(TrainConfig(resume=half.folder))
    assert names(outcome.folder) == {"lavagaps5"}  # also of the frozen agent
    for name, column in read_episodes(whole.folder, ["train"]).items():
        np.testing.assert_array_equal(read_episodes(outcome.folder, ["train"])[name], column, strict=True)


def test_an_unknown_task_is_answered_in_one_line(
    tiny: Configs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"stream 'rooms': no task 'lavagap5'; did you mean 'lavagaps5'\?"):
        main(tiny(only_task="lavagap5", **ROOMS))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "cued-recall", "--only-task", "1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("lifelong: stream 'cued-recall': no task '1'; known: cue 0, cue 1, ")
    assert said.count("\n") == 1
    assert not Path("runs").exists()
