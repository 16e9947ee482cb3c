"""What stands in each format's files."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lifelong.experiments.export import ExportConfig, main
from lifelong.experiments.exports.l2logger import task_names
from lifelong.experiments.runs.errors import UserError

ALONE = ("empty-5x5", "lavagaps5", "empty-8x8")


def lines(path: Path, delimiter: str = "\t") -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_l2logger_blocks_alternate_and_number_every_experience(runs: Path, tmp_path: Path) -> None:
    main(ExportConfig((runs / "gated_delta0",), "l2logger", tmp_path))
    folder = tmp_path / "lifetimes" / "gated_delta0"
    info = json.loads((folder / "logger_info.json").read_text())
    assert info["metrics_columns"] == ["reward", "normalised", "success", "episode_step_count"]
    assert json.loads((folder / "scenario_info.json").read_text())["scenario_type"] == "dispersed"
    logs = sorted(folder.glob("lives/*/data-log.tsv"), key=lambda path: int(path.parent.name.partition("-")[0]))
    rows = [row for path in logs for row in lines(path)]
    assert [int(row["exp_num"]) for row in rows] == list(range(len(rows)))
    numbers = [int(row["block_num"]) for row in rows]
    assert numbers == sorted(numbers)
    first, second = lines(logs[0]), lines(logs[1])
    assert {(row["block_type"], row["task_name"]) for row in first} == {("train", "empty_5x5")}
    assert {row["worker_id"] for row in first} == {"life-0", "life-1"}
    assert [row["task_name"] for row in second] == ["empty_5x5"] * 2 + ["lavagaps5_default"] * 2 + ["empty_8x8"] * 2
    assert json.loads(second[2]["task_params"]) == {"task": "lavagaps5"}
    assert {row["exp_status"] for row in rows} == {"complete"}


def test_single_task_runs_stand_apart(runs: Path, tmp_path: Path) -> None:
    main(ExportConfig(tuple(runs / name for name in ("gated_delta0", *ALONE)), "l2logger", tmp_path))
    assert sorted(path.name for path in (tmp_path / "single_task").iterdir()) == sorted(ALONE)
    about = tmp_path / "single_task" / "lavagaps5" / "scenario_info.json"
    assert json.loads(about.read_text())["scenario_type"] == "ste"


def test_names_of_tasks_are_a_label_and_a_variant() -> None:
    names = {0: "doorkey-5x5", 1: "memory", 2: "MiniGrid-DoorKey-5x5-v0", 3: "doorkey/5x5", 4: "gravity:4"}
    assert list(task_names(names).values()) == [
        "doorkey_5x5", "memory_default", "minigriddoorkey5x5_v0", "doorkey_5x53", "gravity_4"
    ]  # fmt: skip


def test_continual_world_has_a_task_for_each_visit(runs: Path, tmp_path: Path) -> None:
    main(ExportConfig(tuple(runs / name for name in ("gated_delta0", *ALONE)), "continual-world", tmp_path))
    rows = lines(tmp_path / "cl" / "gated_delta0" / "progress.tsv")
    assert len(rows) == 72
    active = [i for i in range(9) for _ in range(8)]
    active[40] = 4  # both lives were still at the task before
    assert [int(row["train/active_env"]) for row in rows] == active
    assert rows[-1]["total_env_steps"] == "36864"
    last = [float(rows[-1][f"test/stochastic/{i}/{ALONE[i % 3]}/success"]) for i in range(9)]
    assert last == [1.0] * 9
    config = json.loads((tmp_path / "cl" / "gated_delta0" / "config.json").read_text())
    assert config["steps_per_task"] == 4096
    alone = json.loads((tmp_path / "single" / "lavagaps5" / "config.json").read_text())
    assert (alone["task"], alone["steps"]) == ("lavagaps5", 4096)
    assert "test/stochastic/0/lavagaps5/success" in lines(tmp_path / "single" / "lavagaps5" / "progress.tsv")[0]


def test_cora_tags_lie_within_their_blocks(runs: Path, tmp_path: Path) -> None:
    main(ExportConfig((runs / "gated_delta0",), "cora", tmp_path))
    events = EventAccumulator(str(tmp_path / "gated_delta0"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == sorted(f"{k}_reward/{i}" for k in ("eval", "train") for i in range(3))
    steps = [event.step for event in events.Scalars("eval_reward/0")]
    assert steps[7] == 4095
    assert steps[8] == 4608
    assert steps[-1] == 36863
    experiment = json.loads((tmp_path / "experiment.json").read_text())
    assert experiment["num_task_steps"] == 4096
    assert experiment["num_cycles"] == 3
    assert experiment["tasks"]["lavagaps5"]["train_regions"] == [[4096, 8192], [16384, 20480], [28672, 32768]]
    assert experiment["models"]["gated_delta"]["runs"] == ["gated_delta0"]


def test_training_returns_of_cora_are_means_of_the_last_hundred(runs: Path, tmp_path: Path) -> None:
    main(ExportConfig((runs / "gated_delta0",), "cora", tmp_path / "cora"))
    events = EventAccumulator(str(tmp_path / "cora" / "gated_delta0"))
    events.Reload()
    main(ExportConfig((runs / "gated_delta0",), "csv", tmp_path / "rows"))
    rows = lines(tmp_path / "rows" / "gated_delta0.csv", ",")
    returns = [float(row["return"]) for row in rows if row["mode"] == "train" and row["task_name"] == "empty-5x5"]
    assert events.Scalars("train_reward/0")[-1].value == pytest.approx(np.mean(returns[-100:]), abs=1e-6)


def test_rliable_arrays_are_seeds_by_tasks(runs: Path, tmp_path: Path) -> None:
    names = ("gru1", "gated_delta0", "gru0", "gated_delta1")
    main(ExportConfig(tuple(runs / name for name in names), "rliable", tmp_path))
    scores = dict(np.load(tmp_path / "scores.npz"))
    about = json.loads((tmp_path / "scores.json").read_text())
    assert {name: x.shape for name, x in scores.items()} == {"gru": (2, 3), "gated_delta": (2, 3)}
    assert about["scores"] == "normalised of copies at the end of training"
    assert about["tasks"] == list(ALONE)
    assert [Path(run).name for run in about["methods"]["gru"]["runs"]] == ["gru0", "gru1"]


def test_csv_holds_every_row_with_the_name_of_its_task(
    runs: Path, tmp_path: Path, rows: dict[str, list[dict[str, str]]]
) -> None:
    main(ExportConfig((runs / "lavagaps5",), "csv", tmp_path))
    found = lines(tmp_path / "lavagaps5.csv", ",")
    assert len(found) == len(rows["lavagaps5"])
    assert {row["mode"] for row in found} == {"train", "probe"}
    for name in ("task_name", "train_step", "life", "episode", "length"):
        assert [row[name] for row in found] == [row[name] for row in rows["lavagaps5"]]


@pytest.mark.parametrize(
    ("names", "changes", "form", "reason"),
    [
        (("gru0", "gru0"), {}, "csv", "two are called gru0"),
        (("gru0", "other"), {}, "rliable", "two runs of gru have seed 0"),
        (("gru0", "empty-5x5"), {}, "rliable", "need the same tasks in all runs"),
        (("gru0", "empty-5x5"), {}, "cora", "share tasks and steps of a block"),
        (("other",), {"schedule": "cyclic:20"}, "cora", "blocks of equal steps"),
        (("other",), {"evaluate_mode": "sandbox"}, "continual-world", "was not evaluated in training"),
        (("other",), {"evaluate_mode": "sandbox"}, "cora", "was not evaluated in training"),
        (("other",), {"evaluate_mode": "sandbox"}, "rliable", "was evaluated neither in training nor after it"),
        (("other",), {"num_envs": 1, "life_episodes": 9}, "l2logger", "has lives of 9 episodes"),
    ],
)
def test_runs_that_do_not_fit_are_refused(
    names: tuple[str, ...],
    changes: dict[str, Any],
    form: str,
    reason: str,
    runs: Path,
    tmp_path: Path,
    rows: dict[str, list[dict[str, str]]],
    configs: dict[str, dict[str, object]],
    write_run: Callable[..., None],
) -> None:
    source = "gru0" if "num_envs" not in changes else "gated_delta0"
    write_run(tmp_path / "other", configs[source] | changes, rows[source])
    folders = [tmp_path / name if name == "other" else runs / name for name in names]
    with pytest.raises(UserError, match=reason):
        main(ExportConfig(tuple(folders), form, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changed", ["success", "normalised"])
def test_tasks_that_do_not_tell_what_a_format_needs_are_refused(
    changed: str,
    tmp_path: Path,
    rows: dict[str, list[dict[str, str]]],
    configs: dict[str, dict[str, object]],
    write_run: Callable[..., None],
) -> None:
    blank = {"success": "nan"} | ({"normalised": "nan"} if changed == "normalised" else {})
    write_run(tmp_path / "run", configs["gru0"], [row | blank for row in rows["gru0"]])
    form, reason = {
        "success": ("continual-world", "do not tell success"),
        "normalised": ("rliable", "cannot be normalised"),
    }[changed]
    with pytest.raises(UserError, match=reason):
        main(ExportConfig((tmp_path / "run",), form, tmp_path / "out"))
