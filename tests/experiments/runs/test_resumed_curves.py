"""The curves of a life that was killed and resumed are those of one that was not: nothing lost, nothing doubled."""

import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from lifelong.agents import Rollout
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import EpisodeLog
from lifelong.experiments.runs.loggers import Loggers
from lifelong.experiments.runs.trainer import Trainer

Configs = Callable[..., TrainConfig]
Points = dict[str, list[tuple[int, float]]]
OF_THE_CLOCK = ("time/", "charts/SPS")


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.experiments.runs.trainer.plot_matrix", lambda *given: None)
    monkeypatch.setattr(Loggers, "figure", lambda *given: None)


def trained(config: TrainConfig, resumed: bool = False, evaluates: bool = True) -> Path:
    """Train with a report every 64 steps, in event files of a later second than those of before.

    TensorBoard reads them in the order of their names, which begin with it; no process is killed and started again in
    one second.
    """
    while any(int(path.name.split(".")[3]) >= int(time.time()) for path in config.run.glob("events.out.tfevents.*")):
        time.sleep(0.05)
    with Trainer(config, resumed, Console(quiet=True), report_steps=64) as trainer:
        if trainer.train() and evaluates:
            summary = trainer.evaluate()
            trainer.finish(trainer.lived() or summary)
    return config.run


def killed(config: TrainConfig, segment: int, monkeypatch: pytest.MonkeyPatch, resumed: bool = False) -> None:
    """Train, but for the last: the process is killed in the middle of a segment, and writes nothing more."""
    collected, collect = [0], Rollout.collect

    def counted(self: Rollout, length: int) -> Any:
        if length == config.segment:
            collected[0] += 1
            if collected[0] == segment:
                raise KilledError
        return collect(self, length)

    with monkeypatch.context() as patch:
        patch.setattr(Rollout, "collect", counted)
        patch.setattr(EpisodeLog, "close", lambda self: None)
        with pytest.raises(KilledError):
            trained(config, resumed)


def written(run: Path) -> Points:
    """Return all points in the event files, hidden or not."""
    found: Points = {}
    for path in sorted(run.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag.partition("/")[0] not in ("custom_scalars__config__", "config", "_hparams_"):
                    (x,) = value.tensor.float_val or [0.0]
                    found.setdefault(value.tag, []).append((event.step, x))
    return {tag: points for tag, points in found.items() if not tag.startswith(OF_THE_CLOCK)}


def shown(run: Path) -> Points:
    """Return the points that TensorBoard shows."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith((*OF_THE_CLOCK, "_"))]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def table(run: Path) -> list[list[str]]:
    with (run / "scalars.csv").open(newline="") as file:
        return [row for row in csv.reader(file) if not row[0].startswith(OF_THE_CLOCK)]


STREAMS: dict[str, dict[str, Any]] = {
    "cues": {"evaluate_every": "96"},
    "visits": {
        "stream": "rooms", "stream_options": ("task=lavagaps5,empty-5x5", "max_steps=4"), "life_episodes": 0,
        "schedule": "block:8", "evaluate_every": "96",
    },
}  # fmt: skip


@pytest.mark.parametrize("stream", ["cues", pytest.param("visits", marks=pytest.mark.slow)])
def test_a_life_that_was_killed_has_the_curves_of_one_that_was_not(
    stream: str, tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[str, Any] = {"log": "tensorboard,csv", "checkpoint_every": 96}
    config = tiny(steps=448, evaluation_lives=2, **logged, **STREAMS[stream]).resolved()
    whole = trained(replace(config, name="whole"))
    broken = replace(config, name="broken")
    killed(broken, 5, monkeypatch)  # at 128 steps: a report at 128 is in no checkpoint, the last of which is at 96
    killed(broken, 4, monkeypatch, resumed=True)  # at 192: the checkpoint of this very step is there
    killed(broken, 1, monkeypatch, resumed=True)  # before anything was lived
    trained(broken, resumed=True)
    assert table(broken.run) == table(whole)
    assert written(broken.run) == written(whole)
    assert len(written(whole)["losses/policy_loss"]) == 7
    assert shown(broken.run) == shown(whole)


def test_what_is_written_after_the_training_is_not_doubled_when_a_finished_run_is_resumed(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(steps=96, log="tensorboard,csv", evaluation_lives=2).resolved()
    whole = trained(replace(config, name="whole"))
    with monkeypatch.context() as patch:  # killed in the middle of it
        patch.setattr(Trainer, "finish", lambda *given: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            trained(config)
    for _ in range(2):
        trained(config, resumed=True)
        assert written(config.run) == written(whole)
        assert table(config.run) == table(whole)


def test_an_interrupt_adds_no_point_and_loses_none(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(steps=288, log="tensorboard,csv", evaluation_lives=2).resolved()
    whole = trained(replace(config, name="whole"))
    with monkeypatch.context() as patch:
        ends = iter([False] * 4)
        patch.setattr("lifelong.experiments.runs.signals.Signals.end", lambda self: next(ends, True))
        trained(config)
    assert [step for step, _ in written(config.run)["losses/policy_loss"]] != []
    trained(config, resumed=True)
    assert written(config.run) == written(whole)
    assert table(config.run) == table(whole)


def test_a_checkpoint_of_before_sizes_were_kept_hides_what_came_later_and_no_more(tmp_path: Path) -> None:
    first = Loggers("tensorboard,csv", tmp_path, {})
    for step in (1000, 2000, 3000):
        first.scalars({"train/reward": 0.0}, step)
    first.close()
    again = Loggers("tensorboard,csv", tmp_path, {}, 2000)
    again.scalars({"train/reward": 1.0}, 3000)
    again.close()
    assert shown(tmp_path) == {"train/reward": [(1000, 0.0), (2000, 0.0), (3000, 1.0)]}
    assert [row[1:] for row in table(tmp_path)[1:]] == [["1000", "0.0"], ["2000", "0.0"], ["3000", "1.0"]]
