"""Open regular files only: a pipe would wait for ever, a device never ends, and a link may lead anywhere."""

import errno
import os
import stat
from pathlib import Path

__all__ = ["check_regular", "open_regular"]

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_regular(path: str | Path, dir_fd: int | None = None) -> int:
    """Open a regular file for reading and return its descriptor.

    Args:
        path: of the file.
        dir_fd: of the directory that it is relative to.

    Raises:
        OSError: if it cannot be opened, or is a link, a pipe, a device or a directory.
    """
    try:
        handle = os.open(path, _FLAGS, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _irregular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _irregular(path)
    return handle


def check_regular(path: Path) -> None:
    """Validate that a path is that of a regular file, for those who open it themselves.

    Raises:
        OSError: if it is not there, or is a link, a pipe, a device or a directory.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise _irregular(path)


def _irregular(path: str | Path) -> OSError:
    return OSError(errno.EINVAL, "it is no regular file", str(path))
