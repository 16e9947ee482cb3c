"""What is on the disk when a process is killed or the power fails: files, and the names in folders.

A file is there once it is synced, its name once the folder is.
"""

import os
from pathlib import Path

__all__ = ["is_at", "sync_folder", "write_synced"]


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until its content is on the disk; its name is there after `sync_folder`.

    Args:
        path: of the file.
        data: its content.

    Raises:
        OSError: if it cannot be written.
    """
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: what was made, renamed and removed there.

    Args:
        folder: its path.

    Raises:
        OSError: if it cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_at(path: Path, handle: int) -> bool:
    """Return whether a path is still that of a file or folder that is open.

    Args:
        path: where it was opened.
        handle: its descriptor.
    """
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False
