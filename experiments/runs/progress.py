"""Progress of a run: steps per second, return, what is known so far, time left.

On a terminal it is a bar; elsewhere, in a log, one plain line every 30 seconds.
"""

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich import progress as bars
from rich.console import Console

__all__ = ["Progress"]

_RECENT = 20  # segments whose episodes the numbers are of
_LINE_EVERY = 30.0  # seconds between two lines where there is no terminal


class _Speed(bars.ProgressColumn):
    def render(self, task: bars.Task) -> str:
        speed = task.finished_speed or task.speed
        return f"{speed:,.0f} steps/s" if speed else "- steps/s"


class Progress:
    """Shows the progress of a run while the block lasts.

    Args:
        total: environment steps of the run.
        done: of these at the start.
        console: where to show it.
        clock: seconds that count for the speed; None is all of them.
    """

    def __init__(self, total: int, done: int, console: Console, clock: Callable[[], float] | None = None) -> None:
        self.clock = clock or time.monotonic
        self.bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            _Speed(),
            bars.TextColumn("{task.fields[numbers]}"),
            bars.TimeRemainingColumn(),
            console=console,
            disable=console.quiet or not console.is_terminal,
            get_time=self.clock,
        )
        self.task = self.bar.add_task("training", total=total, completed=done, numbers="")
        self.total, self.first, self.console = total, done, console
        self.plain = not console.quiet and not console.is_terminal
        self.began, self.told = self.clock(), time.monotonic()
        self.recent: deque[dict[str, NDArray[Any]]] = deque(maxlen=_RECENT)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.bar.stop()
        else:  # what went wrong is all there is to say
            self.bar.live.transient = True
            self.bar.live.stop()

    def update(self, done: int, rows: dict[str, NDArray[Any]]) -> None:
        """Update the progress with the number of steps and the episodes that ended.

        Args:
            done: steps of all lives together.
            rows: columns of the episodes table; empty if none ended.
        """
        if rows:
            self.recent.append(rows)
        numbers = ""
        tell = self.plain and time.monotonic() - self.told >= _LINE_EVERY
        if self.recent and (tell or not self.bar.disable):
            reward, met, success = (
                np.concatenate([part[name] for part in self.recent]) for name in ("return", "lag_episodes", "success")
            )
            known = success[(met >= 1) & ~np.isnan(success)]
            numbers = f"return {reward.mean():.3f}" + (f" · known {known.mean():.3f}" if known.size else "")
        self.bar.update(self.task, completed=done, numbers=numbers)
        if tell:
            self._tell(done, numbers)

    def _tell(self, done: int, numbers: str) -> None:
        """Write one line, not wrapped."""
        self.told = time.monotonic()
        speed = (done - self.first) / max(self.clock() - self.began, 1e-9)
        left = (self.total - done) / speed if speed else float("nan")
        parts = [f"{done:,} of {self.total:,} steps", f"{speed:,.0f} steps/s", numbers, f"{left:,.0f} s left"]
        self.console.file.write(" · ".join(part for part in parts if part) + "\n")
        self.console.file.flush()
