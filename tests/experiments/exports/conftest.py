"""Runs of three tasks of `rooms`, thinned to two lives; `configs.json` and `rows.csv.gz` hold what is needed of them.

They were made with `lifelong train rooms --schedule "cyclic:4096 steps" --steps 36864 --num-envs 8 --segment 64
--stream-options task=empty-5x5,lavagaps5,empty-8x8 --evaluate-every 500 --minibatches 4`: memories gated_delta and gru,
seeds 0 and 1, and one run of 4,096 steps on each task alone. Of all but `gated_delta0` and the single tasks
only the last evaluation is kept.
"""

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from lifelong.envs.stream import ROW
from lifelong.experiments.runs.episodes import EpisodeLog, Mode

DATA = Path(__file__).parent / "data"


def write(folder: Path, config: Mapping[str, object], rows: list[dict[str, str]]) -> None:
    """Write what an export reads of a run."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"format": 2, "config": config, "origin": {"git": "x"}}))
    names = {int(row["task"]): row["task_name"] for row in rows}
    tasks = [names.get(number, "") for number in range(max(names) + 1)]
    modes: tuple[Mode, ...] = ("train", "probe", "frozen")
    for mode in modes:
        with EpisodeLog(folder, mode, tasks=tasks) as log:
            mine = [row for row in rows if row["mode"] == mode]
            for step in sorted({int(row["train_step"]) for row in mine}):
                now = [row for row in mine if int(row["train_step"]) == step]
                log.append(
                    {name: np.array([row.get(name, -1) for row in now]).astype(kind) for name, kind in ROW.items()},
                    step,
                )


@pytest.fixture(scope="session")
def write_run() -> Callable[..., None]:
    return write


@pytest.fixture(scope="session")
def rows() -> dict[str, list[dict[str, str]]]:
    found = defaultdict(list)
    with gzip.open(DATA / "rows.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            found[row["run"]].append(row)
    return dict(found)


@pytest.fixture(scope="session")
def configs() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((DATA / "configs.json").read_text())
    return found


@pytest.fixture(scope="session")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    rows: dict[str, list[dict[str, str]]],
    configs: dict[str, dict[str, object]],
) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, config in configs.items():
        write(folder / name, config, rows[name])
    return folder
