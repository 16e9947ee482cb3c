"""Whatever cannot be written is named in one line with exit code 2; a training keeps its last checkpoint."""

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lifelong import cli
from lifelong.agents import load_checkpoint
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.csv_logger import CsvLogger
from lifelong.experiments.runs.directory import Captured
from lifelong.experiments.runs.episodes import EpisodeLog, read_episodes
from lifelong.experiments.runs.open_run import LAST
from lifelong.experiments.runs.tensorboard import RunWriter
from lifelong.experiments.train import main

pytestmark = pytest.mark.filterwarnings(
    "ignore:compiled loops cannot be kept"
)  # where this test is the first to compile
STUDY = Path(__file__).parents[2] / "experiments" / "studies" / "smoke.toml"
Configs = Callable[..., TrainConfig]


@contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    """Let no file grow beyond some bytes, whoever writes it; the system's reason is "File too large"."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose figures, compiled loops and modules are all made."""
    folder = tmp_path_factory.mktemp("runs")
    words = "train --steps 2000 --num-envs 4 --width 16 --segment 8 --life-episodes 8 --evaluation-lives 2 --name x"
    assert cli.main([*words.split(), "--stream-options", "cues=3", "size=4", "--runs", str(folder)]) == 0
    assert cli.main(["capacity", "--pairs", "2", "--keys", "dense", "--repeats", "2"]) == 0
    return folder / "x"


VERBS = """
retention {run} --steps 64 --lives 2
adaptation {run} --lives 2 --change-at 4
interference {run} --lives 2 --most 4 --before 8
watch {run} --output {out}.gif --steps 3
report {run} --output {out}.html
export {run} --format csv --output {out}
export {run} --format rliable --output {out}
export-policy {run} --output {out}.pt2
swap {run} --memory gru --name y
fork {run} y
fork {run} {out}.safetensors
capacity --pairs 2 --keys dense --repeats 2 --output {out}.md
cost --memories gru --width 8 --output {out}
stream show cued-recall --output {out}.png
study register {study} --output {out}
recall --tasks once --memories gru --seeds 1 --output {out}
train --steps 64 --num-envs 4 --width 16 --segment 8 --name z --runs {out}
"""


@pytest.mark.parametrize("words", VERBS.strip().splitlines())
def test_every_verb_names_what_it_cannot_write(
    words: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    copied = shutil.copytree(run, tmp_path / "x")
    given = words.format(run=copied, out=out, study=STUDY).split()
    with full_disk():
        code = cli.main(given)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("lifelong: cannot write "), line
    assert line.endswith("File too large"), line
    assert str(tmp_path) in line
    assert len(line) <= 300
    assert code == 2


@pytest.mark.parametrize("words", ["export {run} --format csv --output {out}", "retention {run} --steps 64 --lives 2"])
@pytest.mark.parametrize("number", [errno.EROFS, errno.ENAMETOOLONG, errno.EMFILE])
def test_other_reasons_are_named_too(
    number: int,
    words: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(path: Any, *_: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    copied = shutil.copytree(run, tmp_path / "x")
    shutil.rmtree(copied / "report", ignore_errors=True)
    monkeypatch.setattr(os, "mkdir", refused)
    assert cli.main(words.format(run=copied, out=tmp_path / "out").split()) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("lifelong: cannot write ")
    assert line.endswith(os.strerror(number))


def trained(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> int:
    """Train by the command, and return its exit code."""
    monkeypatch.setattr("lifelong.experiments.settings.train.parse", lambda kind, *given: kind(**vars(config)))
    return cli.main(["train"])


@pytest.mark.parametrize(
    ("owner", "name"), [(EpisodeLog, "flush"), (RunWriter, "flush"), (CsvLogger, "flush"), (Captured, "save")]
)
def test_a_disk_that_fills_up_during_training_leaves_a_whole_checkpoint(
    owner: Any,
    name: str,
    tiny: Configs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The disk is full from the first such call on after the second checkpoint."""
    monkeypatch.chdir(tmp_path)  # in a line of 300 characters there is no room for twice a long path
    whole = read_episodes(main(tiny(name="whole")).folder)
    config, call = tiny(checkpoint_every="32", log="tensorboard,csv", runs=Path(), name="full"), getattr(owner, name)

    def filling(*given: Any) -> Any:
        if (config.run / LAST).exists() and load_checkpoint(config.run / LAST)[1]["steps"] >= 64:
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        return call(*given)

    with monkeypatch.context() as patch, full_disk(resource.RLIM_INFINITY):
        patch.setattr(owner, name, filling)
        code = trained(config, patch)
    line = capsys.readouterr().err.splitlines()[-1]
    kept = load_checkpoint(config.run / LAST)[1]["steps"]
    assert line.startswith(f"lifelong: cannot write {config.run}")
    assert line.endswith(
        f": File too large; the checkpoint of step {kept} is whole; go on with: lifelong train --resume {config.run}"
    ), line
    assert 64 <= kept < 160
    assert code == 2
    again = read_episodes(main(TrainConfig(resume=config.run)).folder)
    assert all((whole[column] == again[column]).all() for column in ("step", "return"))


def test_training_goes_on_without_a_logger_that_cannot_write(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    scalars = RunWriter.scalars

    def full(self: RunWriter, values: Any, step: int) -> None:
        if step > 64:
            raise OSError(errno.ENOSPC, "No space left on device")
        scalars(self, values, step)

    monkeypatch.setattr(RunWriter, "scalars", full)
    monkeypatch.setattr("lifelong.experiments.runs.trainer._REPORT_EVERY", 0.0)
    said = r"training goes on without the logger tensorboard: cannot write .*tfevents.*: No space left on device"
    with pytest.warns(RuntimeWarning, match=said):
        outcome = main(tiny(log="tensorboard,csv", on_log_error="continue", checkpoint_every="32"))
    assert outcome.finished
    steps = {line.split(",")[1] for line in (outcome.folder / "scalars.csv").read_text().splitlines()[1:]}
    assert {"64", "96", "160"} <= steps
    assert any(name.startswith("events.out.tfevents.") for name in load_checkpoint(outcome.folder / LAST)[1]["logged"])
