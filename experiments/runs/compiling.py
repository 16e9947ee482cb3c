"""Seconds in which loops are compiled, and a line that says so: on a machine's first run they are most of a minute."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from numba.core import event

__all__ = ["Compiling"]


class Compiling(event.Listener):
    """Count the seconds in which numba compiles while the block lasts, and tell once that it does.

    Loops that come from the cache on disk are not compiled. numba compiles one loop at a time, with those that it calls
    inside.

    Args:
        tell: gets the line when the first loop is compiled.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._told, self._depth, self._began, self._spent = tell, False, 0, 0.0, 0.0

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._spent + (time.monotonic() - self._began if self._depth else 0.0)

    def clock(self) -> float:
        """Return the time by a clock that stands still while a loop is compiled."""
        return time.monotonic() - self.seconds

    def __enter__(self) -> Self:
        event.register("numba:compile", self)  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        event.unregister("numba:compile", self)  # type: ignore[no-untyped-call]

    def on_start(self, event: Any) -> None:
        """Begin to count with the outermost loop."""
        if not self._depth:
            self._began = time.monotonic()
        self._depth += 1
        if not self._told:
            self._told = True
            self._tell("compiling, once: the next run of this stream and memory starts without it")

    def on_end(self, event: Any) -> None:
        """Stop counting with the outermost loop."""
        self._depth -= 1
        if not self._depth:
            self._spent += time.monotonic() - self._began
