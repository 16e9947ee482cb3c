"""One process at a time writes to a run; a second is told which."""

import errno
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lifelong.experiments.runs import lock as module
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.lock import LOCK, RunLock
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]


@contextmanager
def another_process(folder: Path) -> Iterator[int]:
    """Hold the lock of a folder in another process, and kill that at the end."""
    child = os.fork()
    if not child:
        RunLock(folder)
        (folder / "held").touch()
        signal.pause()
    while not (folder / "held").exists():
        time.sleep(0.01)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_second_process_is_told_who_holds_the_lock_and_gets_it_when_that_is_killed(tmp_path: Path) -> None:
    said = rf"run {tmp_path} is in use by process %d on {socket.gethostname()} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d$"
    with another_process(tmp_path) as child:
        assert RunLock.is_held(tmp_path)
        for _ in range(2):
            with pytest.raises(UserError, match=said % child):
                RunLock(tmp_path)
    assert not RunLock.is_held(tmp_path)
    with RunLock(tmp_path), pytest.raises(UserError, match=said % os.getpid()):
        RunLock(tmp_path)
    assert (tmp_path / LOCK).read_bytes() == b""
    RunLock(tmp_path).release()


def test_a_lock_stays_with_its_folder_when_that_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with RunLock(tmp_path / "a"):
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").mkdir()
        RunLock(tmp_path / "a").release()
        with pytest.raises(UserError, match="b is in use"):
            RunLock(tmp_path / "b")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*nowhere/\.lock: No such file or directory"):
        RunLock(tmp_path / "nowhere")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_of_the_file_system_what_the_file_says_decides(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*given: Any) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(module.fcntl, "flock", none)
    ended = os.fork()
    if not ended:
        os._exit(0)
    os.waitpid(ended, 0)
    holder = {"pid": ended, "host": socket.gethostname(), "since": "2026-01-02 03:04:05"}
    for there, held in (
        (holder, False),
        (holder | {"pid": os.getppid()}, True),
        (holder | {"host": "elsewhere"}, True),
        ({"odd": 1}, False),
    ):
        (tmp_path / LOCK).write_text(json.dumps(there))
        assert RunLock.is_held(tmp_path) == held
        if held:
            with pytest.raises(UserError, match=r"in use by process \d+ on .* since 2026-01-02 03:04:05; if it has "):
                RunLock(tmp_path)
        else:
            with RunLock(tmp_path), pytest.raises(UserError, match=f"in use by process {os.getpid()}"):
                RunLock(tmp_path)


def test_a_run_that_is_written_to_is_neither_resumed_nor_replaced(tiny: Configs) -> None:
    folder = main(tiny()).folder
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != LOCK}
    with another_process(folder) as child:
        for config in (TrainConfig(resume=folder), tiny(seed=1, overwrite=True)):
            with pytest.raises(UserError, match=f"tiny is in use by process {child} on"):
                main(config)
        (folder / "held").unlink()
        found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != LOCK}
        assert found == files
        assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    assert main(TrainConfig(resume=folder)).finished
    assert main(tiny(seed=1, overwrite=True)).finished


def test_a_run_is_free_again_after_its_training_and_after_its_failure(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = main(tiny()).folder
    assert not RunLock.is_held(folder)
    with monkeypatch.context() as patch:
        patch.setattr("lifelong.experiments.runs.trainer.Loggers", lambda *given, **more: 1 / 0)
        for config in (TrainConfig(resume=folder), tiny(name="new"), tiny(overwrite=True)):
            with pytest.raises(ZeroDivisionError):
                main(config)
    assert not RunLock.is_held(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_what_is_no_file_cannot_be_a_lock(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOCK)
    with pytest.raises(UserError, match=r"cannot lock .*\.lock: it is no regular file; remove it"):
        RunLock(tmp_path)
