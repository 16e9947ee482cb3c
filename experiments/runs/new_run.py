"""New run directories: born whole, and in place of an old run only once the new one has lived.

A run gets its name when its config is on the disk: wherever a process is killed, runs/NAME is not there, or can go on.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from lifelong.agents.durable import sync_folder, write_synced
from lifelong.envs.stream_file import is_stream_file
from lifelong.experiments.runs.config import FORMAT, TrainConfig
from lifelong.experiments.runs.directory import origin
from lifelong.experiments.runs.errors import UserError, check_output
from lifelong.experiments.runs.lock import LOCK, RunLock
from lifelong.experiments.runs.replacing import finish_replacing, place_of_new, place_of_replaced

__all__ = ["NewRun", "add_entries", "replace_file"]


class NewRun:
    """Directory of a new run, locked.

    Args:
        config: with every setting resolved.
        agent: as it was made from the config.
        waits: whether the run gets its name at `settle` only, where none is there; where one is, it always does.

    Raises:
        UserError: if there is a run of that name and it may not be replaced, or a process writes to it.
    """

    def __init__(self, config: TrainConfig, agent: nn.Module, *, waits: bool = False) -> None:
        self.final = config.run.resolve() if config.run.is_symlink() else config.run
        check_output(self.final, folder=True)
        finish_replacing(self.final)
        self._old: RunLock | None = _replaceable(config, self.final)
        self.folder = place_of_new(self.final)
        """Where the run is."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._free_old()
            raise UserError(f"cannot make {self.final}: {error.strerror}") from error
        try:
            self.lock = RunLock(self.folder)
        except BaseException:
            self._free_old()
            raise
        try:
            self._write(config, agent)
            if self._old is None and not waits:
                self._name()
        except BaseException:
            self.discard()
            raise

    @property
    def waits(self) -> bool:
        """Whether the run does not have its name yet."""
        return self.folder != self.final

    @property
    def replaces(self) -> bool:
        """Whether another run is there until `settle`."""
        return self._old is not None

    def settle(self) -> None:
        """Give the run its name, in place of the run that was there."""
        old = place_of_replaced(self.final)
        if self._old is not None:
            shutil.rmtree(old, ignore_errors=True)
            self.final.rename(old)
        if self.waits:
            self._name()
        if self._old is not None:
            shutil.rmtree(old, ignore_errors=True)
            self._free_old()

    def discard(self) -> None:
        """Remove the new run, as if it had never been; a run that it would have replaced stays."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.leave()

    def leave(self) -> None:
        """Give the folder free, and that of a run that was not replaced."""
        self.lock.release()
        self._free_old()

    def _write(self, config: TrainConfig, agent: nn.Module) -> None:
        """Write the config and the stream file."""
        for path in self.folder.iterdir():  # of a process that was killed
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if is_stream_file(config.stream):
            name = f"stream{Path(config.stream).suffix}"
            replace_file(self.folder / name, Path(config.stream).read_bytes())
        content = {"format": FORMAT, "config": config.to_json(), "origin": origin(config, agent)}
        replace_file(self.folder / "config.json", (json.dumps(content, indent=1) + "\n").encode())

    def _name(self) -> None:
        """Give the folder its name."""
        sync_folder(self.folder)
        try:
            self.folder.rename(self.final)  # over an empty folder, too
        except OSError as error:
            raise UserError(f"cannot make {self.final}: {error.strerror}") from error
        self.folder = self.final
        sync_folder(self.final.parent)

    def _free_old(self) -> None:
        if self._old is not None:
            self._old.release()
            self._old = None


def add_entries(folder: Path, **entries: Any) -> None:
    """Write entries into the `config.json` of a run, in place of those of these names."""
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8")) | entries
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode())


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole, the old one or the new one, whenever the process is killed."""
    fresh = path.with_name(f".{path.name}.new")
    write_synced(fresh, data)
    fresh.replace(path)
    sync_folder(path.parent)


def _replaceable(config: TrainConfig, folder: Path) -> RunLock | None:
    """Return the lock of the run that is to be replaced, if there is one."""
    if not folder.exists() or not any(folder.iterdir()):
        return None
    if not config.overwrite:
        raise UserError(
            f"run {folder} exists: pass --overwrite to replace it, --resume {folder} to go on, or another name"
        )
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is no run, so it is not replaced: it has no config.json")
    return RunLock(folder)
