"""Small trainings that are killed and damaged, and how two of them are compared."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lifelong.agents.checkpoint import load_checkpoint
from lifelong.envs.suites import make_registered
from lifelong.experiments.report import ReportConfig, main as report
from lifelong.experiments.retention import RetentionConfig, main as retention
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.open_run import LAST
from lifelong.experiments.runs.trainer import Trainer

__all__ = ["KINDS", "config_of", "differences", "elsewhere", "go_on", "installed", "reads", "train"]

KINDS: dict[str, dict[str, Any]] = {
    "cued-recall": {"stream": "cued-recall", "stream_options": ("cues=4",), "life_episodes": 16},
    "rooms": {"stream": "rooms", "stream_options": ("task=empty-5x5,empty-6x6", "max_steps=6"), "schedule": "cyclic:2"},
    "MiniGrid": {"stream": "gym:MiniGrid-Empty-5x5-v0"},
    "classic control": {"stream": "gym:CartPole-v1"},
    "MuJoCo": {"stream": "gym:Hopper-v5"},
}
"""Settings of a training of each kind of environment."""
_SIZES: dict[str, Any] = {
    "num_envs": 4, "segment": 8, "width": 16, "steps": 384, "checkpoint_every": "64", "evaluation_lives": 0,
    "evaluate_every": "off", "log": "tensorboard,csv",
}  # fmt: skip
_REPORT_STEPS = 64
_OF_THE_CLOCK = ("time/", "charts/SPS", "_")


def installed(kind: str) -> bool:
    """Return whether the environments of a kind can be made here."""
    stream = str(KINDS[kind]["stream"])
    if not stream.startswith("gym:"):
        return True
    try:
        make_registered(stream.removeprefix("gym:"), {}).close()
    except Exception:  # noqa: BLE001  whatever a package that is not whole raises
        return False
    return True


def config_of(kind: str, run: Path, seed: int = 0) -> TrainConfig:
    """Return the settings of a training, resolved.

    Args:
        kind: of the environment.
        run: its folder.
        seed: of everything.
    """
    return TrainConfig(**KINDS[kind], **_SIZES, seed=seed, runs=run.parent, name=run.name).resolved()


def train(config: TrainConfig, resumed: bool = False) -> None:
    """Train to the end; what is said goes to stdout."""
    with Trainer(config, resumed, Console(width=10_000), report_steps=_REPORT_STEPS) as trainer:
        if trainer.train():
            trainer.finish(trainer.lived())


def go_on(config: TrainConfig) -> Callable[[], None]:
    """Return a function that goes on with a training, or begins it where nothing of it is there."""
    return lambda: train(config, resumed=(config.run / "config.json").exists())


def reads(verb: str, run: Path) -> Callable[[], object]:
    """Return a function that measures or reports a run and prints the result.

    Args:
        verb: `retention` or `report`.
        run: its folder.
    """
    if verb == "report":
        return lambda: print(report(ReportConfig((str(run),)))[0])
    return lambda: print(retention(RetentionConfig(run, steps=64, lives=4)))


@dataclass(frozen=True, slots=True)
class _Left:
    """What a training leaves, as far as it depends on no clock."""

    rows: dict[str, Any]
    tensors: dict[str, Any]
    points: dict[str, NDArray[np.float64]]
    table: list[str]


def differences(found: Path, wanted: Path, *, curves: bool = True) -> list[str]:
    """Return in what a run differs from another: columns of rows, tensors of the last checkpoint, curves; or why not.

    Args:
        found: folder of the run.
        wanted: of the other.
        curves: whether TensorBoard's and those of `scalars.csv` count.
    """
    theirs = _left(wanted)
    try:
        ours = _left(found)
    except Exception as error:  # noqa: BLE001  whatever a run that is not whole raises
        return [f"{type(error).__name__}: {error}"]
    said = _differ("rows", ours.rows, theirs.rows, _same)
    said += _differ("tensors", ours.tensors, theirs.tensors, lambda a, b: a.dtype == b.dtype and a.equal(b))
    if curves:
        said += _differ("curves", ours.points, theirs.points, _same)
        said += ["scalars.csv"] if ours.table != theirs.table else []
    return said


def _left(run: Path) -> _Left:
    parts = load_checkpoint(run / LAST)[0]
    tensors = {f"{part}/{name}": x for part, named in parts.items() for name, x in named.items()}
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith(_OF_THE_CLOCK)]
    points = {tag: np.array([(event.step, event.value) for event in events.Scalars(tag)]) for tag in tags}
    text = (run / "scalars.csv").read_text(encoding="utf-8") if (run / "scalars.csv").is_file() else ""
    return _Left(
        read_episodes(run), tensors, points, [line for line in text.splitlines() if not line.startswith(_OF_THE_CLOCK)]
    )


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether two columns are alike; numbers that are missing are."""
    floats = a.dtype.kind == "f"
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=floats)


def _differ(what: str, ours: dict[str, Any], theirs: dict[str, Any], same: Callable[[Any, Any], bool]) -> list[str]:
    if ours.keys() != theirs.keys():
        return [f"{what}: {', '.join(sorted(ours.keys() ^ theirs.keys()))}"]
    other = [name for name, value in theirs.items() if not same(ours[name], value)]
    return [f"{what}: {', '.join(other[:3])}"] if other else []


def elsewhere(config: TrainConfig, run: Path) -> TrainConfig:
    """Return the settings with another folder."""
    return replace(config, runs=run.parent, name=run.name)
