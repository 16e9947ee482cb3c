from pathlib import Path

import pytest

from lifelong.experiments.report import ReportConfig, main
from lifelong.experiments.runs.config import PPOOverrides, TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.train import main as train


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in (0, 1):
        train(
            TrainConfig(
                runs=tmp_path, name=f"r{seed}", seed=seed, memory="none", width=8, steps=64, num_envs=4, segment=16,
                life_episodes=16, ppo=PPOOverrides(minibatches=1), stream_options=("cues=2",), evaluation_lives=64,
            )
        )  # fmt: skip
    return tmp_path


def test_seeds_are_pooled_into_one_line_and_missing_reports_into_none(runs: Path) -> None:
    heading, _, line = main(ReportConfig(runs)).split("\n")
    assert heading.startswith("| agent | seeds | lag 1 | lag 2-3 |")
    assert line.startswith("| cued-recall none cues=2 | 2 | - |")
    assert len(line.split("|")) == len(heading.split("|"))
    with pytest.raises(UserError, match="holds no run with a report 'frozen-1'"):
        main(ReportConfig(runs, report="frozen-1"))
