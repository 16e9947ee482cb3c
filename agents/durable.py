"""What is on the disk when a process is killed or the power fails: files, and the names in folders.

A file is there once it is synced, its name once the folder is.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["WriteError", "is_at", "sync_folder", "write_synced", "writing"]


class WriteError(OSError):
    """A file or folder cannot be written; the message names it and the system's reason, in one line."""

    def __str__(self) -> str:
        return f"cannot write {self.filename}: {self.strerror}"


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Raise what the system refuses as `WriteError`; a full disk alone does not say what was written.

    Args:
        path: what is written, where the system does not name it.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise WriteError(error.errno or errno.EIO, reason, str(error.filename or path)) from error


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until its content is on the disk; its name is there after `sync_folder`.

    Args:
        path: of the file.
        data: its content.

    Raises:
        WriteError: if it cannot be written.
    """
    with writing(path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: what was made, renamed and removed there.

    Args:
        folder: its path.

    Raises:
        WriteError: if it cannot be opened or synced.
    """
    with writing(folder):
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
