"""Trainings in which several processes learn: resumed to the same bits, and as many processes as there is work for."""

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from lifelong.agents.parallel_ppo import ParallelPPO
from lifelong.agents.ppo import PPO
from lifelong.experiments.campaigns.children import in_child
from lifelong.experiments.campaigns.lives import config_of, differences, elsewhere, go_on
from lifelong.experiments.runs import config as module
from lifelong.experiments.runs.build import make_agent, make_learner
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import PPOOverrides, TrainConfig
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]


def test_a_training_of_two_processes_that_was_killed_goes_on_to_the_same_bits(tiny: Configs) -> None:
    folder = tiny().runs
    base = config_of("cued-recall", folder / "whole")
    whole = replace(base, processes=2, ppo=replace(base.learning, minibatches=2))
    killed = elsewhere(whole, folder / "killed")
    assert in_child(go_on(whole)).how == "done"
    assert in_child(go_on(killed), kill_before=25).how == "killed"
    assert in_child(go_on(killed)).how == "done"
    assert differences(killed.run, whole.run) == []
    alone = elsewhere(replace(whole, processes=1), folder / "alone")
    assert in_child(go_on(alone)).how == "done"
    assert differences(alone.run, whole.run)  # other bits: numbers are added in another order


def test_no_more_processes_than_a_minibatch_has_lives(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(
        "lifelong.experiments.runs.build.ParallelPPO",
        lambda agent, config, processes: made.append(processes) or PPO(agent, config),
    )
    said = io.StringIO()
    config = tiny(num_envs=8, processes=64, minibatches=3, steps=32, evaluation_lives=0)
    main(config, Console(file=said, width=200))
    assert made == [3]
    assert "3 processes learn, not 64: a minibatch has 3 lives" in said.getvalue()
    assert json.loads((config.run / "config.json").read_text())["config"]["processes"] == 64


def test_long_trainings_on_the_cpu_take_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    long = TrainConfig(steps=module._LONG)
    assert long.resolved().processes == 6
    assert replace(long, processes=2).resolved().processes == 2
    assert replace(long, steps=module._LONG - 1).resolved().processes == 1
    assert replace(long, device="cuda").resolved().processes == 1
    few = replace(long, num_envs=4, ppo=PPOOverrides(minibatches=2)).resolved()
    assert few.processes == 2
    assert (
        TrainConfig.from_json({k: v for k, v in long.to_json().items() if k != "processes"}).resolved().processes == 1
    )


def test_a_resumed_run_keeps_its_processes_or_takes_others(tiny: Configs) -> None:
    config = tiny(steps=64, processes=2, evaluation_lives=0)
    main(config)
    said = io.StringIO()
    main(TrainConfig(resume=config.run, steps=96), Console(file=said, width=200))
    assert json.loads((config.run / "config.json").read_text())["config"]["processes"] == 2
    main(TrainConfig(resume=config.run, steps=128, processes=1), Console(file=said, width=200))
    assert "goes on with processes 2 -> 1, steps 96 -> 128" in said.getvalue()


def test_a_learner_has_the_processes_of_its_config(tiny: Configs) -> None:
    config = tiny(processes=2).resolved()
    env = make_env(config)
    learner = make_learner(config, make_agent(config, env))
    assert isinstance(learner, ParallelPPO)
    learner.close()
    assert type(make_learner(replace(config, processes=1), make_agent(config, env))) is PPO
