"""Trainings by ranks of `torchrun`: the same bits as by as many processes, and no rank waits for one that ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lifelong.agents import PPO, Agent
from lifelong.agents.checkpoint import load_checkpoint
from lifelong.agents.distributed_ppo import DistributedPPO
from lifelong.envs import make_stream
from lifelong.experiments.runs.build import make_agent, make_learner
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.torchrun import ranks
from lifelong.experiments.settings.train import Asked
from lifelong.experiments.train import command, main

Configs = Callable[..., TrainConfig]
LAST = Path("checkpoints", "last")


def begun(words: list[str], count: int = 2) -> list[subprocess.Popen[str]]:
    """Begin a command as `torchrun` does, one process for each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-P", "-m", "lifelong.cli", *words]
    return [
        subprocess.Popen(
            call,
            env=os.environ | group | {"RANK": str(rank)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(count)
    ]


def wait_for(checkpoint: Path, rank_0: subprocess.Popen[str]) -> None:
    """Wait until a training has written its first checkpoint, and goes on."""
    while not checkpoint.exists():
        assert rank_0.poll() is None, rank_0.communicate()[0]
        time.sleep(0.1)
    time.sleep(1.0)


def words(config: TrainConfig, **settings: object) -> list[str]:
    given = {"runs": config.runs, "steps": 160, "num-envs": 4, "segment": 8, "epochs": 2, "minibatches": 2}
    given |= {"evaluation-lives": 2, "width": 8, "memory": "gru", **settings}
    return ["train", "cued-recall", *(str(word) for name, x in given.items() for word in (f"--{name}", x))]


def alone(config: TrainConfig, seed: int) -> Path:
    """Train with as many processes of this machine."""
    path = config.runs / f"alone-{seed}"
    found = [sys.executable, "-P", "-m", "lifelong.cli", *words(config, processes=2, seed=seed, name=path.name)]
    subprocess.run(found, check=True, capture_output=True)
    return path


@pytest.mark.parametrize("seeds", [(0,), pytest.param((0, 1), marks=pytest.mark.slow)])
def test_ranks_learn_to_the_same_bits_as_processes(seeds: tuple[int, ...], tiny: Configs) -> None:
    config = tiny()
    processes = begun([*words(config), "--seeds", f"{seeds[0]}..{seeds[-1]}"])
    texts = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], texts
    assert f"({len(seeds)} of {len(seeds)})" in texts[0]
    assert texts[1] == ""
    for seed in seeds:
        here, there = config.runs / f"cued-recall-gru-seed{seed}" / LAST, alone(config, seed) / LAST
        for name in ("policy", "optimizer", "memory", "random", "env"):
            file = f"{name}.safetensors"
            assert (here / file).read_bytes() == (there / file).read_bytes(), (seed, name)


@pytest.mark.slow
def test_a_rank_that_ends_is_named_and_the_run_goes_on_without_it(tiny: Configs) -> None:
    config = tiny()
    rank_0, rank_1 = begun(words(config, steps=1_000_000_000, name="long"))
    run = config.runs / "long"
    wait_for(run / LAST, rank_0)
    rank_1.kill()
    text, _ = rank_0.communicate(timeout=60)
    assert rank_0.returncode == 1
    assert "rank 1, which computes gradients, has ended" in text
    rank_1.communicate()
    steps = load_checkpoint(run / LAST)[1]["steps"]
    assert steps > 0
    assert main(TrainConfig(resume=run, steps=steps + 64, processes=1)).steps == steps + 64


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_ranks_ends_them_with_a_checkpoint(number: int, tiny: Configs) -> None:
    config = tiny()
    processes = begun(words(config, steps=1_000_000_000, name="long"))
    wait_for(config.runs / "long" / LAST, processes[0])
    for process in processes:
        process.send_signal(number)
    texts = [process.communicate(timeout=60)[0] for process in processes]
    assert processes[1].returncode == 0, texts
    assert "--resume" in texts[0]


@pytest.mark.slow
def test_a_rank_whose_rank_0_was_killed_ends(tiny: Configs) -> None:
    config = tiny()
    rank_0, rank_1 = begun(words(config, steps=1_000_000_000, name="long"))
    wait_for(config.runs / "long" / LAST, rank_0)
    rank_0.kill()
    text, _ = rank_1.communicate(timeout=60)
    assert rank_1.returncode == 2
    assert "rank 1: rank 0 has ended" in text
    rank_0.communicate()


def test_processes_are_the_ranks(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert TrainConfig().resolved().processes == 3
    config = tiny(processes=2)
    with pytest.raises(
        UserError, match="processes must be the ranks that torchrun began, 3, or not be given: processes=2"
    ):
        command(Asked(config, (), ""))
    assert not config.run.exists()
    for rank, count in (("3", "3"), ("x", "3"), ("0", "")):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", count)
        with pytest.raises(UserError, match="RANK must be a number below WORLD_SIZE, as torchrun sets them"):
            ranks()


def test_ranks_of_a_script_learn_each_alone(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = tiny(processes=2).resolved()
    assert type(make_learner(config, make_agent(config, make_env(config)))) is PPO


def test_a_learner_without_a_group_is_refused() -> None:
    agent = Agent.for_spaces(make_stream("cued-recall", 2), "gru", width=8)
    with pytest.raises(ValueError, match="this must be rank 0 of a group of two or more, got rank 0 of 1"):
        DistributedPPO(agent)
