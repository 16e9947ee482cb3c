"""Signals of a training: when it goes on to the end of its segment, and when it stops at once.

| signal | what happens |
| --- | --- |
| SIGINT (Ctrl-C), SIGTERM | the segment is finished; a second one stops at once |
| SIGHUP, SIGUSR1, SIGXCPU | it stops at once |

At once is within a segment or an evaluation; what is being written is written first. A SIGHUP that is ignored, as under
nohup, stays ignored.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Signals", "Stopped"]

_FINISHING = ("SIGINT", "SIGTERM")
_AT_ONCE = ("SIGHUP", "SIGUSR1", "SIGXCPU")  # the terminal is closed; a batch system's warnings


class Stopped(KeyboardInterrupt):
    """A signal stops a training; the message says what is kept, and how to go on.

    Args:
        number: of the signal.
        message: for the user.
    """

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message or signal.Signals(number).name)
        self.number = number


class Signals:
    """Handles signals while the block lasts.

    Args:
        tell: where the user is told that a segment is finished first.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._asked, self._now, self._may_stop = tell, False, 0, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in (*_FINISHING, *_AT_ONCE):
                number = getattr(signal, name, None)
                if number is None:
                    continue
                before = signal.getsignal(number)
                if name == "SIGHUP" and before == signal.SIG_IGN:
                    continue
                self._before[number] = before
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Let a signal raise `Stopped` inside the block, or before it if it came while that was not possible."""
        self._may_stop = True
        try:
            self.check()
            yield
        finally:
            self._may_stop = False

    def end(self) -> bool:
        """Return whether a signal has asked for an end after the segment."""
        return self._asked

    def check(self) -> None:
        """Raise `Stopped` if a signal has asked to stop at once."""
        if self._now:
            raise Stopped(self._now)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._asked and signal.Signals(number).name in _FINISHING:
            self._asked = True
            with contextlib.suppress(RuntimeError):  # the signal came while the same stream was written to
                self._tell("finishing this segment; again to stop now")
            return
        self._now = number
        if self._may_stop:
            raise Stopped(number)
