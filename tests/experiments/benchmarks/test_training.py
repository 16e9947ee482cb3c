"""Training is measured in the environment that was asked for, ours beside theirs."""

import re
import time
from collections.abc import Callable

import pytest

from lifelong import cli
from lifelong.envs import GymStream, Rooms
from lifelong.experiments.benchmarks import training as bench_training
from lifelong.experiments.benchmarks.training import BenchConfig

TINY = ["--num-envs", "2", "--steps", "4", "--width", "8", "--epochs", "1", "--minibatches", "2", "--turns", "1",
        "--memories", "gru"]  # fmt: skip


def _sleeping(config: BenchConfig) -> Callable[[], None]:
    return lambda: time.sleep(0.001)


@pytest.mark.parametrize("env", ["MiniGrid-DoorKey-5x5-v0", "MiniGrid-MultiRoom-N4-S5-v1"])
def test_rooms_is_the_twin_of_what_was_asked_for(env: str) -> None:
    ours = bench_training._env(BenchConfig(env=env, rooms=True, num_envs=3))
    theirs = bench_training._env(BenchConfig(env=env, num_envs=3))
    assert isinstance(ours, Rooms)
    assert isinstance(theirs, GymStream)
    assert ours.grids.tasks[0].minigrid_id == theirs.tasks[0].name == env
    assert ours.num_envs == theirs.num_envs == 3
    assert ours.single_action_space == theirs.single_action_space
    assert ours.single_observation_space == theirs.single_observation_space  # so nobody has less to read


def test_what_has_no_twin_is_refused_with_what_has() -> None:
    with pytest.raises(ValueError, match=r"twin of: MiniGrid-Empty-5x5-v0, .*got 'CartPole-v1'"):
        bench_training._env(BenchConfig(rooms=True))


def test_a_table_says_who_acted_where(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench_training, "_theirs", _sleeping)
    assert cli.main(["bench", "training", *TINY, "--rooms", "--env", "MiniGrid-Empty-5x5-v0"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("MiniGrid-Empty-5x5-v0 (ours: its twin in rooms), 2 environments, 4 steps, width 8, ")
    assert re.search(r"^\| lifelong gru \| [\d,]+ \| [\d,]+ to [\d,]+ \| \d+\.\d\d \|$", said, re.MULTILINE)
    assert re.search(r"^\| sb3-contrib RecurrentPPO \| [\d,]+ \| .* \| 1\.00 \|$", said, re.MULTILINE)


def test_the_rival_learns_in_minigrid_itself(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sb3_contrib")
    assert cli.main(["bench", "training", *TINY, "--rooms", "--env", "MiniGrid-Empty-5x5-v0"]) == 0
    assert "| sb3-contrib RecurrentPPO |" in capsys.readouterr().out
