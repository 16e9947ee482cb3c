"""A run in an environment that cannot be brought back to where it was: refused, unless it begins new episodes."""

import csv
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from rich.console import Console

from lifelong import cli
from lifelong.agents import Rollout, load_checkpoint
from lifelong.agents.checkpoint import find_checkpoint
from lifelong.experiments.reports.run import read_run
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.trainer import Trainer
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]
LAST = Path("checkpoints", "last")
STEPS = 64  # of the checkpoint: 16 of each of four lives, in their third episode


class KilledError(BaseException):
    """Stands for a killed process."""


class Seedless(gymnasium.Env[Any, Any]):
    """Shows numbers of a generator that no seed reaches; pays the action, and ends after six steps."""

    observation_space, action_space = spaces.Box(0.0, 1.0, (2,)), spaces.Discrete(2)

    def __init__(self) -> None:
        self.own = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self.own.random(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return self.own.random(2, np.float32), float(action), self.count == 6, False, {}


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Return a folder whose name leaves room in a line of 300 characters."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def broken(tiny: Configs, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Return the config of a run that was killed a segment after its checkpoint."""
    monkeypatch.setitem(gymnasium.registry, "Seedless-v0", gymnasium.envs.registration.EnvSpec("Seedless-v0", Seedless))
    config = tiny(
        stream="gym:Seedless-v0", stream_options=(), life_episodes=None, memory="gru", checkpoint_every=str(STEPS),
        normalize_reward="on", normalize_observation="on", log="tensorboard,csv", runs=short_path,
    )  # fmt: skip
    lived, collect = [0], Rollout.collect

    def counted(self: Rollout, length: int) -> Any:
        lived[0] += 1
        if lived[0] == 4:
            raise KilledError
        return collect(self, length)

    with monkeypatch.context() as patch:
        patch.setattr(Rollout, "collect", counted)
        with pytest.raises(KilledError):
            main(config)
    assert load_checkpoint(config.run / LAST)[1]["steps"] == STEPS
    return config


def test_another_world_is_one_line_that_says_how_to_go_on_and_changes_nothing(
    broken: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in broken.run.rglob("*") if path.is_file()}
    assert cli.main(["train", "--resume", str(broken.run)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "environment 'Seedless-v0', slot 0, step 16 of life 0: resumed by " in said
    assert said.endswith(f"lifelong train --resume {broken.run} --new-episodes keeps the agent and begins new episodes")
    assert {path: path.read_bytes() for path in broken.run.rglob("*") if path.is_file()} == before


def test_new_episodes_keep_the_agent_whole(broken: TrainConfig) -> None:
    parts, _ = load_checkpoint(broken.run / LAST)
    with Trainer(broken.resolved(), True, Console(quiet=True), new_episodes=True) as trainer:
        for name, tensor in parts["policy"].items():
            assert torch.equal(trainer.agent.state_dict()[name], tensor), name
        for name, tensor in parts["memory"].items():
            assert torch.equal(trainer.rollout.state[tuple(name.split("/"))], tensor), name
        assert trainer.learner.return_scale is not None
        for name, tensor in parts["return_scale"].items():
            assert torch.equal(trainer.learner.return_scale.state_dict()[name], tensor), name
        assert len(trainer.learner.optimizer.state_dict()["state"]) > 0
        assert torch.equal(torch.get_rng_state(), parts["random"]["torch"])
        assert trainer.env.episode_start.all()
        assert not trainer.rollout.start.any()  # the memory goes on
        assert trainer.rollout.steps == STEPS


def test_new_episodes_go_on_with_rows_and_scalars_that_fit_together(broken: TrainConfig) -> None:
    console = Console(record=True, width=200, file=None, quiet=False, stderr=True)
    outcome = main(TrainConfig(resume=broken.run, new_episodes=True), console)
    assert outcome.finished
    assert "new episodes: 4 unfinished, of 16 steps together, are dropped and have no rows" in console.export_text()
    rows = read_episodes(broken.run, ["train"])
    for life in range(4):
        mine = {name: column[rows["life"] == life] for name, column in rows.items()}
        assert mine["episode"].tolist() == [0, 1, 3, 4, 5, 6]  # the third was abandoned
        assert mine["step"].tolist() == [24, 48, 88, 112, 136, 160]
        assert mine["lag_steps"].tolist()[1:] == [0] * 5
    facts = load_checkpoint(broken.run / LAST)[1]
    assert (facts["rows"], facts["steps"], facts["new_episodes"]) == (24, 160, [STEPS])
    assert "it went on with new episodes after 64 steps" in " ".join(read_run(broken.run).notes)
    with (broken.run / "scalars.csv").open() as file:
        points = [(row["tag"], int(row["step"])) for row in csv.DictReader(file)]
    assert len(points) == len(set(points))


def test_an_environment_that_obeys_its_seed_may_begin_new_episodes_too(tiny: Configs) -> None:
    run = main(tiny(stream="gym:CartPole-v1", stream_options=(), memory="gru", life_episodes=None)).folder
    assert main(TrainConfig(resume=run, new_episodes=True)).finished
    assert load_checkpoint(run / LAST)[1]["new_episodes"] == [160]


def test_new_episodes_are_of_a_run_that_goes_on(tiny: Configs) -> None:
    with pytest.raises(UserError, match=r"new_episodes is for a run that goes on: pass --resume RUN too"):
        tiny(new_episodes=True)
    with pytest.raises(UserError, match=r"cannot also change seed"):
        main(TrainConfig(resume=Path("x"), new_episodes=True, seed=3))


def test_a_checkpoint_from_before_checksums_is_resumed_without_a_look(
    broken: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(folder: Path) -> Any:
        found = find_checkpoint(folder)
        del found.parts["env"]["observation_checksum"], found.facts["env_shapes"]["observation_checksum"]
        return found

    monkeypatch.setattr("lifelong.experiments.runs.directory.find_checkpoint", without)
    assert main(TrainConfig(resume=broken.run)).finished
    monkeypatch.undo()
    assert "observation_checksum" in load_checkpoint(broken.run / LAST)[0]["env"]
