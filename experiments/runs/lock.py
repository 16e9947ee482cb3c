"""Lock of a run: one process at a time writes to its folder, and a second is told which.

The lock is one of the operating system (`flock`) on the file `.lock` in the run's folder, so it ends with the process
that holds it, however that ends, and it stays with the folder when that is renamed. The file says who holds it.

Where a file system offers no locks (some mounts over a network) what the file says decides: a process that has ended on
this machine is taken over from; one on another machine cannot be seen, and is taken to be alive until the file is
removed. Two processes that start at the same moment are not told apart there.
"""

import errno
import json
import os
import socket
import stat
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lifelong.agents.durable import is_at, writing
from lifelong.experiments.runs.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "RunLock"]

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

LOCK = ".lock"
"""File of a run's folder."""


class RunLock:
    """Lock of a run's folder, until `release` or the end of the process.

    Args:
        folder: of the run; it must be there.

    Raises:
        UserError: if another process holds it, or the folder cannot be written to; says which process, on which
            machine and since when.
    """

    def __init__(self, folder: Path) -> None:
        self._handle = _locked(folder)
        _HELD.add(self)
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        try:
            with writing(folder / LOCK):
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, json.dumps(holder).encode() + b"\n", 0)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the folder free; does nothing where that was done."""
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1

    def forget(self) -> None:
        """Let a fork of this process hold no lock: it is of all processes that have the file open."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    @staticmethod
    def is_held(folder: Path) -> bool:
        """Return whether a process writes to a folder; false where there is none."""
        try:
            handle = os.open(folder / LOCK, os.O_RDWR)
        except OSError:
            return False
        try:
            locked = _try(handle)
            return _is_alive(_holder(handle)) if locked is None else not locked
        finally:
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_HELD: "weakref.WeakSet[RunLock]" = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_HELD):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _locked(folder: Path) -> int:
    """Return the handle of the lock's file, locked."""
    path = folder / LOCK
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise UserError(f"cannot lock {path}: it is no regular file; remove it")
        try:
            locked, holder = _try(handle), _holder(handle)
            if locked is False:
                raise UserError(f"run {folder} is in use by {_sentence(holder)}")
            if locked is None and _is_alive(holder):
                remedy = f"if it has ended, remove {path}: this file system has no locks"
                raise UserError(f"run {folder} is in use by {_sentence(holder)}; {remedy}")
            if is_at(path, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the folder was replaced meanwhile


def _try(handle: int) -> bool | None:
    """Lock a file that is open, and return whether that was possible; None if its file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _holder(handle: int) -> dict[str, Any]:
    """Return what a lock's file says; nothing where it says nothing."""
    try:
        found = json.loads(os.pread(handle, 4096, 0))
        return {"pid": int(found["pid"]), "host": str(found["host"]), "since": str(found["since"])}
    except (ValueError, KeyError, TypeError):
        return {}


def _is_alive(holder: dict[str, Any]) -> bool:
    """Return whether a process is there; one of another machine is taken to be."""
    if not holder:
        return False
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def _sentence(holder: dict[str, Any]) -> str:
    if not holder:  # it has the lock, and has not said so yet
        return "another process"
    return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
