"""Whatever ends a training leaves a checkpoint from before the segment, one line, and a run that goes on."""

import errno
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong import cli
from lifelong.agents import PPO, Rollout, load_checkpoint
from lifelong.experiments.runs import checkpoints
from lifelong.experiments.runs.checkpoints import Checkpoints
from lifelong.experiments.runs.config import TrainConfig, every
from lifelong.experiments.runs.directory import Captured
from lifelong.experiments.runs.episodes import EpisodeLog, read_episodes
from lifelong.experiments.runs.errors import TrainingError, UserError
from lifelong.experiments.runs.open_run import LAST
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]
SIGNALS = {name: getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGXCPU")}


def lived(run: Path) -> dict[str, bytes]:
    """Return all rows and all tensors of the last checkpoint, bit for bit."""
    rows = {f"rows {name}": column.tobytes() for name, column in read_episodes(run).items()}
    return rows | {path.name: path.read_bytes() for path in (run / LAST).glob("*.safetensors")}


def in_update(count: int, then: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a function after an optimiser's step: weights and moments are those of the middle of an update."""
    steps, step = [0], torch.optim.Adam.step

    def counted(self: torch.optim.Adam, *given: Any) -> Any:
        step(self, *given)
        steps[0] += 1
        if steps[0] == count:
            then()

    monkeypatch.setattr(torch.optim.Adam, "step", counted)


def raises(error: BaseException) -> Callable[[], None]:
    def then() -> None:
        raise error

    return then


def gets(*numbers: int) -> Callable[[], None]:
    def then() -> None:
        for number in numbers:
            signal.raise_signal(number)

    return then


STOPS: dict[str, tuple[Callable[[], None], int, str]] = {
    "a number": (raises(ArithmeticError("nought")), 1, "ArithmeticError: nought; see"),
    "no memory": (raises(MemoryError()), 1, "MemoryError; see"),
    "any bug": (raises(KeyError("x")), 1, "KeyError: 'x'; see"),
    "an exit": (raises(SystemExit(3)), 1, "SystemExit: 3; see"),
    **{name: (gets(number), 128 + number, f"stopped by {name};") for name, number in SIGNALS.items()},
    "two SIGINT": (gets(signal.SIGINT, signal.SIGINT), 130, "stopped by SIGINT;"),
    "two SIGTERM": (gets(signal.SIGTERM, signal.SIGTERM), 143, "stopped by SIGTERM;"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what a run ends with that nothing has stopped."""
    return {}


@pytest.mark.parametrize("stop", STOPS)
def test_a_training_that_is_stopped_keeps_all_before_the_segment_and_goes_on_to_the_same_bits(
    stop: str,
    whole: dict[str, bytes],
    tiny: Configs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not whole:
        whole.update(lived(main(tiny(name="whole")).folder))
    then, code, said = STOPS[stop]
    config = tiny()
    before = {number: signal.getsignal(number) for number in SIGNALS.values()}
    monkeypatch.setattr("lifelong.experiments.settings.train.parse", lambda kind, *given: kind(**vars(config)))
    with monkeypatch.context() as patch:
        in_update(7, then, patch)  # the first of two minibatches of the fourth update
        assert cli.main(["train"]) == code
    assert {number: signal.getsignal(number) for number in before} == before
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("lifelong: ")
    assert said in line
    assert line.endswith(f"its checkpoint is of step 96; go on with: lifelong train --resume {config.run}")
    assert load_checkpoint(config.run / LAST)[1]["steps"] == 96
    assert (config.run / "crash.json").exists() == (code == 1)
    torch.manual_seed(99)
    assert lived(main(TrainConfig(resume=config.run)).folder) == whole


def test_a_failure_is_written_down(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PPO, "learn", lambda *given: raises(ZeroDivisionError("by nought"))())
    with pytest.raises(TrainingError, match=r"after 32 steps: ZeroDivisionError: by nought; see .*crash\.json; its"):
        main(tiny())
    crash = json.loads((tiny().run / "crash.json").read_text())
    assert crash["error"] == "by nought"
    assert "ZeroDivisionError: by nought\n" in crash["traceback"]


def test_the_first_interrupt_says_that_the_segment_is_finished(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny()
    monkeypatch.setattr("lifelong.experiments.settings.train.parse", lambda kind, *given: kind(**vars(config)))
    in_update(7, gets(signal.SIGINT), monkeypatch)
    assert cli.main(["train"]) == 0
    said = capsys.readouterr().err
    assert "finishing this segment; again to stop now\n" in said
    assert f"interrupted; go on with: lifelong train --resume {config.run}\n" in said
    assert load_checkpoint(config.run / LAST)[1]["steps"] == 128


def test_a_signal_outside_of_a_segment_waits_until_what_is_written_is_written(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = EpisodeLog.append

    def interrupted(self: EpisodeLog, *given: Any) -> None:
        append(self, *given)
        if self.rows == 96:
            signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(EpisodeLog, "append", interrupted)
    with pytest.raises(KeyboardInterrupt, match="stopped by SIGHUP; its checkpoint is of step 96"):
        main(tiny())
    assert len(read_episodes(tiny().run)["step"]) == 96


def test_a_hang_up_that_is_ignored_stays_ignored(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        in_update(7, gets(signal.SIGHUP), monkeypatch)
        assert main(tiny()).finished
    finally:
        signal.signal(signal.SIGHUP, before)


def test_checkpoints_in_the_background_change_no_bit(tiny: Configs) -> None:
    settings = {"memory": "gru", "stream": "gym:CartPole-v1", "stream_options": (), "normalize_reward": "on"}
    without = main(tiny(name="without", checkpoint_every="0", **settings)).folder
    often = main(tiny(name="often", checkpoint_every=32, keep=3, **settings)).folder
    assert lived(often) == lived(without)
    found = {path.name: load_checkpoint(path)[1]["steps"] for path in sorted((often / "checkpoints").iterdir())}
    assert found == {"last": 160, "previous": 128, "previous-2": 96}
    assert sorted(path.name for path in (without / "checkpoints").iterdir()) == ["last", "previous"]


def test_a_checkpoint_that_cannot_be_written_ends_the_training_and_names_the_last(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Captured.save

    def full(self: Captured, folder: Path, keep: int) -> None:
        if self.steps >= 96:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder / LAST))
        save(self, folder, keep)

    with monkeypatch.context() as patch:
        patch.setattr(Captured, "save", full)
        with pytest.raises(TrainingError, match=r"No space left on device.*its checkpoint is of step 64; go on with"):
            main(tiny(checkpoint_every=32))
    assert load_checkpoint(tiny().run / LAST)[1]["steps"] == 64
    assert main(TrainConfig(resume=tiny().run)).finished


@pytest.mark.parametrize(
    ("text", "expected"),
    [("60s", (60.0, 0)), ("0.5s", (0.5, 0)), ("20000", (0.0, 20000)), ("1e6", (0.0, 10**6)), ("0", (0.0, 0))],
)
def test_time_or_steps_between_checkpoints_are_read(text: str, expected: tuple[float, int]) -> None:
    assert every(text) == expected
    assert TrainConfig(checkpoint_every=text).checkpoint_every == text


@pytest.mark.parametrize("text", ["", "s", "-1", "-1s", "0s", "nans", "infs", "1.5", "1m", "often"])
def test_what_is_no_time_and_no_steps_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"must be seconds, as 60s, or steps, as 20000: checkpoint_every={text}$"):
        TrainConfig(checkpoint_every=text)


def test_an_older_config_counts_steps_between_checkpoints(tiny: Configs) -> None:
    content = tiny().resolved().to_json() | {"checkpoint_every": 20000}
    del content["keep"]
    found = TrainConfig.from_json(content)
    assert (found.checkpoint_every, found.keep) == ("20000", 2)


def test_checkpoints_by_the_clock_take_at_most_a_fiftieth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Captured, "save", lambda *given: None)
    writer = Checkpoints("60s", 2)
    writer.start(0)
    assert not writer.due(10**9)
    now[0] = 60.0
    assert writer.due(1)
    now[0] = 62.0
    writer.begin(tmp_path, Captured({}, {"steps": 1}), 60.0)
    writer.wait()
    now[0] = 62.0 + 99.0
    assert not writer.due(2)  # it took 2 s
    now[0] = 62.0 + 101.0
    assert writer.due(2)


def test_what_is_being_written_is_not_hurried(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment goes on while a checkpoint is written, and its copy is that of the moment it was begun."""
    story: list[str] = []
    collect, save = Rollout.collect, Captured.save
    during: Any = __import__("threading").Event()

    def slow(self: Captured, folder: Path, keep: int) -> None:
        if self.steps == 64:
            during.wait(10)
        story.append(f"saved {self.steps}")
        save(self, folder, keep)

    def collected(self: Rollout, length: int) -> Any:
        story.append(f"lived {self.steps}")
        if self.steps == 96:
            during.set()
        return collect(self, length)

    monkeypatch.setattr(Captured, "save", slow)
    monkeypatch.setattr(Rollout, "collect", collected)
    main(tiny(checkpoint_every=64))
    assert story.index("saved 64") > story.index("lived 96")
