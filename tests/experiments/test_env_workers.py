"""Trainings whose environments live in other processes: the same runs, and one line whatever an environment does."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from rich.console import Console

from lifelong import cli
from lifelong.envs.task import StreamError
from lifelong.experiments.campaigns.children import in_child
from lifelong.experiments.campaigns.environments import FAULTS
from lifelong.experiments.campaigns.lives import config_of, differences, elsewhere, go_on
from lifelong.experiments.chaos import ChaosConfig, main as chaos
from lifelong.experiments.retention import RetentionConfig, main as retention
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.lock import RunLock
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.swap import SwapConfig, main as swap
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


class Fragile(gymnasium.Env[Any, Any]):
    """Ends its process in its constructor, or in its hundredth step there."""

    observation_space, action_space = spaces.Box(0.0, 1.0, (2,), np.float32), spaces.Discrete(2)
    steps = 0

    def __init__(self, in_constructor: bool = False) -> None:
        if in_constructor:
            os.kill(os.getpid(), signal.SIGSEGV)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self.np_random.random(2).astype(np.float32), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        Fragile.steps += 1
        if Fragile.steps == 100 and "ENDS" in os.environ:
            os._exit(5)
        return self.np_random.random(2).astype(np.float32), float(action), self.count == 5, False, {}


@pytest.fixture(autouse=True)
def fragile() -> Iterator[None]:
    gymnasium.register("Fragile-v0", Fragile)
    yield
    del gymnasium.registry["Fragile-v0"]


def of(tiny: Configs, **settings: Any) -> TrainConfig:
    return tiny(stream="gym:Fragile-v0", stream_options=(), num_envs=4, steps=640, segment=16, **settings)


def test_a_training_that_loses_a_process_of_environments_goes_on_to_the_bits_of_one_without(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = of(tiny, name="whole"), of(tiny, name="broken", env_workers=2)
    assert main(whole).finished
    monkeypatch.setenv("ENDS", "yes")
    monkeypatch.setattr(Fragile, "steps", 0)
    with pytest.raises(StreamError) as caught:
        main(broken)
    said = str(caught.value)
    assert ": step() ended its process: exit status 5; see its crash.json; its checkpoint is of step 192; go on" in said
    crash = json.loads((broken.run / "crash.json").read_text())
    assert (crash["env_id"], crash["entry"], len(crash["actions"])) == ("Fragile-v0", "step()", 5)
    monkeypatch.delenv("ENDS")
    told = io.StringIO()
    assert main(TrainConfig(resume=broken.run, env_workers=0), Console(file=told, width=200)).finished
    assert "goes on with env_workers 2 -> 0\n" in told.getvalue()
    assert differences(broken.run, whole.run, curves=False) == []
    assert open_run(broken.run).env_workers == 0


def test_processes_of_environments_and_of_learning_go_together(tiny: Configs) -> None:
    base = config_of("classic control", tiny().runs / "whole")
    whole = replace(base, processes=2, ppo=replace(base.learning, minibatches=2))
    apart = replace(elsewhere(whole, whole.runs / "apart"), env_workers=2)
    assert in_child(go_on(whole)).how == "done"
    assert in_child(go_on(apart), kill_before=25).how == "killed"
    assert in_child(go_on(apart)).how == "done"
    assert differences(apart.run, whole.run) == []


def test_other_verbs_take_as_many_or_others(tiny: Configs) -> None:
    run = main(of(tiny, env_workers=2, evaluation_lives=1)).folder
    summaries = [
        retention(RetentionConfig(run, steps=32, lives=lives, env_workers=env_workers))
        for lives, env_workers in ((3, None), (3, 0), (3, 1))
    ]
    assert len({str(summary) for summary in summaries}) == 1
    swap(SwapConfig(run, "gru", name="same"))
    swap(SwapConfig(run, "gru", name="other", env_workers=1))
    assert [open_run(run.parent / name).env_workers for name in ("same", "other")] == [2, 1]


def test_a_constructor_that_ends_its_process_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        "gym:Fragile-v0",
        "--env-kwargs",
        "in_constructor=true",
        "--env-workers",
        "1",
        "--runs",
        str(tmp_path),
    ]
    assert cli.main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith(
        "lifelong: stream 'gym:Fragile-v0': cannot make environment 'Fragile-v0': it ended its pro"
    )
    assert len(said) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["cued-recall", "--env-workers", "2"],
            "env_workers must be 0 for streams that are not made of gymnasium's env",
        ),
        (
            ["gym:CartPole-v1", "--num-envs", "4", "--env-workers", "5"],
            "a process for each life: env_workers=5, num_envs=4",
        ),
        (["gym:CartPole-v1", "--env-workers", "-1"], "env_workers must be 0 to 1024: env_workers=-1"),
        (["gym:CartPole-v1", "--env-workers", "1024"], "env_workers must be at most "),
        (["gym:CartPole-v1", "--stream-options", "env_workers=2"], "one of its own: --env-workers 2"),
    ],
)
def test_numbers_that_cannot_be_are_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", *words, "--steps", "64", "--runs", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_fork_holds_no_lock(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    (reading, writing), (told, telling) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(telling, b"!")
        os.read(reading, 1)
        os._exit(0)
    os.read(told, 1)
    assert RunLock.is_held(tmp_path)
    lock.release()
    assert not RunLock.is_held(tmp_path)
    os.write(writing, b"!")
    os.waitpid(child, 0)
    for end in (reading, writing, told, telling):
        os.close(end)


def test_the_command_says_where_it_crashes() -> None:
    code = (
        "import ctypes, sys; sys.argv[1:] = ['--version']; from lifelong.cli import main; main(); ctypes.string_at(0)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGSEGV
    assert 'File "<string>", line 1 in <module>' in done.stderr


def test_faults_come_apart_too_and_the_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*FAULTS]:
        if name != "ends the process":
            monkeypatch.delitem(FAULTS, name)
    trials = chaos(ChaosConfig(("environments",), count=2))
    outcomes = [(trial.kind, trial.outcome) for trial in trials]
    ended, told = "the process ended, then the same bits", "one line, then the same bits"
    assert outcomes == [("ends the process", ended), ("ends the process, apart", told)]
