"""A run directory that lifelong 0.1 wrote, interrupted at 3,072 of its 4,096 steps, is read and goes on."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from lifelong import cli
from lifelong.agents.checkpoint import with_names
from lifelong.agents.ppo_config import PPOConfig
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import load_policy, parameter_names
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.open_run import open_run

RUN = Path(__file__).parent / "data" / "run-0.1"
END = Path(__file__).parent / "data" / "run-0.1-end"
"""Numbers that it ended with. 0.1 itself ended, on another processor, with these but for rounding."""
DRAWN = {  # SHA-256 of what does not depend on how a processor rounds, as long as no action does
    "random": "be1eed001bc68acfd787c4b8c7d4e344b8cb117a3fd255ed01dad40bd634bf75",
    "env": "3dfb3489b46699dd8fac256c0adee3f0e710935d3aa85f3cfa79011872ec7c2e",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUN, tmp_path / "run-0.1"))


def test_its_config_is_read_with_the_names_of_today(run: Path) -> None:
    config = open_run(run)
    assert config.ppo == PPOConfig(lr=2e-3, epochs=2, minibatches=8, entropy_coef=0.03, normalize_reward="off")
    assert (config.steps, config.final_lr_fraction, config.cuda_graph) == (4096, 0.05, "auto")
    assert config.stream_options == ("sealed=false",)
    assert TrainConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("name", ["cued-recall", "colour-rule", "stream.toml"])
def test_its_stream_is_made_as_it_was_or_the_run_is_refused(name: str, run: Path) -> None:
    path = run / "config.json"
    content = json.loads(path.read_text())
    content["format"], content["config"]["stream"] = 2, name
    path.write_text(json.dumps(content))
    (run / "stream.toml").write_text('stream = "cued-recall"\n')
    if name == "colour-rule":
        with pytest.raises(UserError, match=r"config\.json: the run is of colour-rule before it was sealed"):
            open_run(run)
    else:
        assert not make_env(open_run(run)).sealed
        path.write_text(json.dumps(content | {"format": 3}))
        assert make_env(open_run(run)).sealed


def test_its_agent_is_loaded(run: Path) -> None:
    config = open_run(run)
    with_env = make_env(config)
    assert load_policy(run, make_agent(config, with_env))["steps"] == 3072


def test_it_goes_on_to_where_0_1_ended(run: Path) -> None:
    assert cli.main(["train", "--resume", str(run)]) == 0
    parts = run / "checkpoints" / "last"
    found = {part: load_file(parts / f"{part}.safetensors") for part in DRAWN}
    del found["env"]["observation_checksum"]  # 0.1 had none
    assert {part: hashlib.sha256(save(tensors)).hexdigest() for part, tensors in found.items()} == DRAWN
    names = parameter_names(make_agent(open_run(run), make_env(open_run(run))))  # 0.1 numbered them
    for path in END.iterdir():
        end = load_file(path) if path.stem != "optimizer" else with_names(load_file(path), names)
        torch.testing.assert_close(load_file(parts / path.name), end, rtol=1e-4, atol=1e-5)
    assert len(read_episodes(run)["step"]) == 4096


def test_it_is_measured(run: Path) -> None:
    assert cli.main(["retention", str(run), "--steps", "64", "--lives", "4"]) == 0
    assert (run / "report" / "frozen-64-lives4.json").exists()
