"""Where a run's scalars go: TensorBoard, CSV, Weights & Biases."""

import csv
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.runs import trainer
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.csv_logger import CsvLogger
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.loggers import LOGGERS, Loggers, logger_names
from lifelong.experiments.runs.tensorboard import RunWriter
from lifelong.experiments.runs.wandb_logger import WandbLogger
from lifelong.experiments.train import main as train

Tiny = Callable[..., TrainConfig]
NAN = math.nan
CURVE = RetentionCurve("recall", (1.0, NAN), (1.0, NAN), (1.0, NAN), (1.0, NAN), (90, 3), area=1.0, minimum=30)
NOTHING = RetentionCurve("gain", (), (), (), (), (), reason="no episode has ended")


def lines(folder: Path) -> list[list[str]]:
    with (folder / "scalars.csv").open(newline="") as file:
        return list(csv.reader(file))


class FakeRun:
    def __init__(self, **settings: Any) -> None:
        self.settings, self.logged, self.metrics, self.finished = settings, [], [], False

    def define_metric(self, name: str, step_metric: str) -> None:
        self.metrics.append((name, step_metric))

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """Install a module `wandb` that keeps what it is told."""
    runs: list[FakeRun] = []
    module: Any = ModuleType("wandb")

    def init(**settings: Any) -> FakeRun:
        runs.append(FakeRun(**settings))
        return runs[-1]

    module.init, module.Settings, module.Image = init, dict, lambda pixels: pixels.shape
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


def test_csv_has_a_line_for_each_number(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path)
    logger.scalars({"charts/SPS": 10.0, "retention/known": NAN}, 100)
    logger.retention(CURVE, 200)
    logger.retention(NOTHING, 300)
    logger.retention(CURVE, None)
    logger.figure("transfer/performance_matrix", Figure(), 300)
    assert lines(tmp_path) == [  # before it is closed
        ["tag", "step", "value"],
        ["charts/SPS", "100", "10.0"],
        ["retention/lag_0001", "200", "1.0"],
        ["retention/area", "200", "1.0"],
    ]
    logger.close()


def test_csv_drops_what_was_logged_after_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "scalars.csv").write_text("tag,step,value\na/b,100,1.0\na/b,200,2.0\na/b,300,3.0\na/b,1")
    logger = CsvLogger(tmp_path, purge_step=200)
    logger.scalars({"a/b": 4.0}, 200)
    logger.close()
    assert lines(tmp_path)[1:] == [["a/b", "100", "1.0"], ["a/b", "200", "4.0"]]


def test_a_new_run_begins_a_new_table(tmp_path: Path) -> None:
    (tmp_path / "scalars.csv").write_text("tag,step,value\na/b,100,1.0\n")
    CsvLogger(tmp_path).close()
    assert lines(tmp_path) == [["tag", "step", "value"]]


def test_wandb_is_told_the_config_the_numbers_and_the_figures(tmp_path: Path, fake: list[FakeRun]) -> None:
    logger = WandbLogger(tmp_path / ".", {"seed": 3})
    logger.scalars({"charts/SPS": 10.0, "retention/known": NAN}, 100)
    logger.scalars({"retention/known": NAN}, 100)
    logger.retention(CURVE, 200)
    logger.retention(NOTHING, 300)
    logger.figure("transfer/performance_matrix", Figure(figsize=(3, 2), dpi=10), 300)
    logger.finish({"retention/area": 0.5, "retention/memory_index": NAN}, 400)
    logger.flush()
    logger.close()
    (run,) = fake
    assert run.settings["config"] == {"seed": 3}
    assert run.settings["name"] == tmp_path.name
    assert run.metrics == [("*", "steps")]
    assert run.logged == [
        {"charts/SPS": 10.0, "steps": 100},
        {"retention/lag_0001": 1.0, "retention/area": 1.0, "steps": 200},
        {"transfer/performance_matrix": (20, 30, 4), "steps": 300},
        {"retention/area": 0.5, "steps": 400},
    ]
    assert run.finished


def test_a_resumed_run_goes_on_as_the_same_run_of_wandb(tmp_path: Path, fake: list[FakeRun]) -> None:
    WandbLogger(tmp_path, {"seed": 3}).close()
    WandbLogger(tmp_path, None, purge_step=100).close()
    WandbLogger(tmp_path, {"seed": 3}).close()
    first, second, third = (run.settings["id"] for run in fake)
    assert first == second != third
    assert fake[1].settings["config"] is None


def test_all_loggers_of_a_run_are_told_the_same(
    tiny: Tiny, fake: list[FakeRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_REPORT_EVERY", -1.0)  # after every segment
    folder = train(tiny(log="tensorboard,csv,wandb", steps=320)).folder
    events = EventAccumulator(str(folder))
    events.Reload()
    written = {(tag, int(step)): float(value) for tag, step, value in lines(folder)[1:]}
    theirs = {(tag, e.step): e.value for tag in events.Tags()["scalars"] for e in events.Scalars(tag)}
    assert ("charts/episodic_return", 320) in written
    assert written.keys() == {key for key in theirs if not key[0].startswith("_")}
    assert written == pytest.approx(theirs, rel=1e-6)
    logged = {(tag, values["steps"]): value for values in fake[0].logged for tag, value in values.items()}
    assert {key: value for key, value in logged.items() if key[0] != "steps"} == pytest.approx(written)


def test_unknown_and_missing_loggers_are_answered(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"no logger 'tensorbord'; did you mean 'tensorboard'\? known: csv, tensorboard"
    ):
        tiny(log="tensorbord")
    with pytest.raises(UserError, match="log names each logger once: log=csv,csv"):
        logger_names("csv,csv")
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = tiny(log="csv,wandb")
    with pytest.raises(
        UserError, match=r"'wandb' needs wandb, which is not installed: pip install 'lifelong-rl\[wandb\]'"
    ):
        train(config)
    assert not config.run.exists()


def test_a_run_that_is_resumed_keeps_its_loggers(tiny: Tiny) -> None:
    config = tiny(log="csv", steps=64)
    train(config)
    before = lines(config.run)
    outcome = train(TrainConfig(resume=config.run))
    assert outcome.finished
    assert not list(config.run.glob("events.out.*"))
    assert [row for row in before if row[1] != "64"] == [row for row in lines(config.run) if row[1] != "64"]


def test_every_logger_has_the_same_calls() -> None:
    from lifelong.registry import load

    calls = {"scalars", "retention", "figure", "flush", "close"}
    assert all(calls <= set(dir(load("logger", entry.target))) for entry in LOGGERS.values())
    assert calls <= set(dir(Loggers))


@pytest.mark.slow
def test_the_real_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = WandbLogger(tmp_path, {"seed": 3})
    logger.scalars({"charts/SPS": 10.0}, 100)
    logger.figure("transfer/performance_matrix", Figure(), 100)
    logger.close()
    (written,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert written.stat().st_size > 0
    assert b"charts/SPS" in written.read_bytes()


def test_an_event_file_that_is_a_pipe_is_none_of_a_writers(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.scalars({"charts/SPS": 10.0}, 100)
        own = writer.files()
        os.mkfifo(tmp_path / "events.out.tfevents.1.host.1.0")  # to read it would never end
        assert writer.files() == own
        assert len(own) == 1
