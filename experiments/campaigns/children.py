"""Do something in a process of its own, which may be killed, and tell how that ended."""

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lifelong.experiments.runs.errors import known_errors
from lifelong.one_line import one_line

__all__ = ["End", "changes_of", "do_in_child", "fail_at", "in_child", "in_children"]

How = Literal["done", "refused", "traceback", "killed", "crash", "hang"]

_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")
_CODES: dict[int, How] = {0: "done", 2: "refused", 3: "traceback"}
_TICK = 0.01  # seconds between two looks at a child


@dataclass(frozen=True, slots=True)
class End:
    """How something ended.

    Args:
        how: `done`; `refused`, with an error that the command line answers in one line; `traceback`, with any other
            exception; `killed` on purpose; `crash`, by another signal; `hang`, longer than its limit.
        said: what it printed, and the text of its error.
    """

    how: How
    said: str


def in_child(
    work: Callable[[], object], *, kill_before: int | None = None, kill_after: float | None = None, limit: float = 120.0
) -> End:
    """Run `work` in a fork of this process.

    Args:
        work: what is done there; nothing of it reaches this process but files.
        kill_before: SIGKILL before this change of the file system, counted from 0; None never.
        kill_after: SIGKILL after so many seconds; None never.
        limit: seconds after which it counts as hanging.
    """
    return in_children([work], kill_before=kill_before, kill_after=kill_after, limit=limit)[0]


def do_in_child(work: Callable[[], object]) -> None:
    """Run `work`, to which nothing shall happen, in a fork of this process.

    Raises:
        RuntimeError: if it fails, or takes too long.
    """
    end = in_child(work)
    if end.how != "done":
        raise RuntimeError(f"it was to be undisturbed, but ended by {end.how}: {end.said}")


def in_children(
    works: list[Callable[[], object]],
    *,
    kill_before: int | None = None,
    kill_after: float | None = None,
    limit: float = 120.0,
) -> list[End]:
    """Run several things at once, each in a fork of this process; see `in_child`."""
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{number}" for number in range(len(works))]
        children = [_fork(work, file, kill_before) for work, file in zip(works, files, strict=True)]
        ends: dict[int, How] = {}
        began = time.monotonic()
        while len(ends) < len(children):
            for child in children:
                if child in ends:
                    continue
                found, status = os.waitpid(child, os.WNOHANG)
                lived = time.monotonic() - began
                if found:
                    ends[child] = _how(status, kill_before is not None)
                elif (kill_after is not None and lived > kill_after) or lived > limit:
                    os.kill(child, signal.SIGKILL)
                    _, status = os.waitpid(child, 0)
                    ends[child] = "hang" if lived > limit else _how(status, on_purpose=True)
            time.sleep(_TICK)
        said = []
        for file in files:
            with open(file, encoding="utf-8", errors="replace") as text:  # noqa: PTH123  the name of a string
                said.append(text.read())
    return [End(ends[child], text) for child, text in zip(children, said, strict=True)]


def changes_of(work: Callable[[], object]) -> int:
    """Return how many changes of the file system `work` makes; it is done in a child.

    Raises:
        RuntimeError: if it fails.
    """
    with tempfile.NamedTemporaryFile("r") as counted:

        def counting() -> None:
            seen = [0]
            _on_change(lambda path: seen.__setitem__(0, seen[0] + 1))
            work()
            total = seen[0]
            with open(counted.name, "w") as file:  # noqa: PTH123  as above
                file.write(str(total))

        do_in_child(counting)
        return int(counted.read())


def fail_at(change: int, error: Callable[[str], OSError]) -> None:
    """Let one change of the file system fail in this process.

    Args:
        change: which, counted from 0, from now on.
        error: from the path to what is raised.
    """

    def fail(path: str) -> None:
        raise error(path)

    _at_change(change, fail)


def _fork(work: Callable[[], object], file: str, kill_before: int | None) -> int:
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        said = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout = sys.stderr = os.fdopen(said, "w")
        if kill_before is not None:
            _at_change(kill_before, lambda path: os.kill(os.getpid(), signal.SIGKILL))
        code = _run(work)
        sys.stdout.flush()
    finally:
        os._exit(code)


def _run(work: Callable[[], object]) -> int:
    try:
        work()
    except known_errors() as error:
        sys.stderr.write(f"lifelong: {one_line(str(error))}\n")
        return 2
    except KeyboardInterrupt as error:  # a signal that was answered says how to go on
        sys.stderr.write(f"lifelong: {one_line(str(error)) or 'interrupted'}\n")
        return 2
    except OSError as error:
        if error.filename is None:
            traceback.print_exc()
            return 3
        sys.stderr.write(
            f"lifelong: {one_line(f'{error.filename}: {error.strerror}')}\n"
        )  # as the command line says it
        return 2
    except BaseException:  # noqa: BLE001  the other process tells
        traceback.print_exc()
        return 3
    return 0


def _at_change(change: int, do: Callable[[str], None]) -> None:
    """Do something, once, before a change of the file system, counted from 0."""
    left = [change]

    def count(path: str) -> None:
        left[0] -= 1
        if left[0] == -1:
            do(path)

    _on_change(count)


def _on_change(tell: Callable[[str], None]) -> None:
    """Call a function with the path before each change of the file system in this process, from now on."""

    def hook(event: str, given: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
        if event in _CHANGES or writes:
            tell(os.fsdecode(given[0]) if isinstance(given[0], str | bytes | os.PathLike) else str(given[0]))

    sys.addaudithook(hook)


def _how(status: int, on_purpose: bool) -> How:
    if not os.WIFSIGNALED(status):
        return _CODES.get(os.WEXITSTATUS(status), "crash")
    return "killed" if on_purpose and os.WTERMSIG(status) == signal.SIGKILL else "crash"
