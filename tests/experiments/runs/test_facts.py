"""A checkpoint tells which config it is of: one that was changed since is named, field by field."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifelong import load_agent
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]


def change(folder: Path, **settings: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    ppo = content["config"]["ppo"]
    ppo |= {name: settings.pop(name) for name in [*settings] if name in ppo}
    content["config"] |= settings
    (folder / "config.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("facts")
    (folder / "own.toml").write_text('[[tasks]]\nenv = "CartPole-v1"\n')
    config = TrainConfig(
        str(folder / "own.toml"), runs=folder, name="run", steps=16, num_envs=2, segment=4, width=8, evaluation_lives=0
    )
    return main(config).folder


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seed": 7}, "seed=7, it was 0"),
        ({"lr": 0.5}, r"lr=0\.5, it was 0\.\d+"),
        ({"seed": 7, "carry": "task"}, "carry='task', it was 'lifetime', seed=7, it was 0"),
        ({"seed": 7, "carry": "task", "gamma": 0.5, "epochs": 9}, "and 1 more"),
    ],
)
@pytest.mark.parametrize("use", [load_agent, lambda run: main(TrainConfig(resume=run))], ids=["load", "resume"])
def test_a_config_that_was_changed_is_named(
    settings: dict[str, Any], said: str, use: Callable[[Path], object], trained: Path
) -> None:
    before = (trained / "config.json").read_text()
    change(trained, **settings)
    try:
        with pytest.raises(UserError, match=rf"config\.json was changed after the checkpoint: .*{said}") as caught:
            use(trained)
        assert "put it back (--resume changes steps, device, threads, processes and env_workers" in str(caught.value)
    finally:
        (trained / "config.json").write_text(before)


def test_a_stream_file_that_was_changed_is_named(trained: Path) -> None:
    path = trained / "stream.toml"
    before = path.read_text()
    path.write_text(before.replace("CartPole", "Acrobot"))
    try:
        with pytest.raises(UserError, match=r"stream\.toml is another file|is of another agent"):
            load_agent(trained)
        path.write_text(before + "# read again\n")
        with pytest.raises(UserError, match=r"stream\.toml is another file"):
            load_agent(trained)
    finally:
        path.write_text(before)


def test_what_changes_no_agent_may_be_changed(tiny: Configs) -> None:
    folder = main(tiny()).folder
    change(folder, threads=2, keep=3, checkpoint_every="0", name="other", runs="elsewhere", evaluate_episodes=2)
    load_agent(folder)
    assert main(TrainConfig(resume=folder, steps=320)).finished


def test_a_checkpoint_of_before_goes_on(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.experiments.runs.trainer.config_facts", lambda config: {})
    folder = main(tiny()).folder
    monkeypatch.undo()
    assert main(TrainConfig(resume=folder, steps=320)).finished
    change(folder, seed=5)
    with pytest.raises(UserError, match="seed=5, it was 0"):
        load_agent(folder)
