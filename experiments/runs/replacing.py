"""Folders beside a run while another one replaces it.

| folder | what it is |
| --- | --- |
| runs/.NAME.new | a run that is being made, or that will replace runs/NAME once it has lived |
| runs/NAME | the run |
| runs/.NAME.old | the run that was replaced and is being removed |
"""

import shutil
import time
from pathlib import Path

from lifelong.experiments.runs.lock import RunLock

__all__ = ["finish_replacing", "place_of_new", "place_of_replaced", "remove_replaced"]

_PATIENCE = 5.0  # seconds for another process between two renames


def place_of_new(folder: Path) -> Path:
    """Return where a run is made."""
    return folder.with_name(f".{folder.name}.new")


def place_of_replaced(folder: Path) -> Path:
    """Return where a run is that was replaced."""
    return folder.with_name(f".{folder.name}.old")


def remove_replaced(folder: Path) -> None:
    """Remove what is left of a run that was replaced.

    Args:
        folder: of the run that is in its place, locked.
    """
    shutil.rmtree(place_of_replaced(folder), ignore_errors=True)


def finish_replacing(folder: Path) -> None:
    """Finish what a process began that was killed between the two renames of a replacement.

    Args:
        folder: of a run; nothing is done if it is there.
    """
    patience = time.monotonic() + _PATIENCE
    while not folder.exists() and place_of_replaced(folder).is_dir():
        if not RunLock.is_held(place_of_new(folder)):
            lived = (place_of_new(folder) / "config.json").is_file()
            (place_of_new(folder) if lived else place_of_replaced(folder)).rename(folder)
        elif time.monotonic() > patience:
            return
        else:
            time.sleep(0.01)
