"""A progress bar for lives: steps per second, reward, what is known so far, time left."""

from collections import deque
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich import progress as bars
from rich.console import Console

__all__ = ["Progress"]

_RECENT = 20  # segments whose episodes the numbers are of


class _Speed(bars.ProgressColumn):
    def render(self, task: bars.Task) -> str:
        speed = task.finished_speed or task.speed
        return f"{speed:,.0f} steps/s" if speed else "- steps/s"


class Progress:
    """Shows how far a run is, while the block lasts.

    Args:
        total: environment steps of the run.
        done: of these at the start.
        console: where to show it.
    """

    def __init__(self, total: int, done: int, console: Console) -> None:
        self.bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            _Speed(),
            bars.TextColumn("{task.fields[numbers]}"),
            bars.TimeRemainingColumn(),
            console=console,
            disable=console.quiet,
        )
        self.task = self.bar.add_task("living", total=total, completed=done, numbers="")
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
        """Show that so many steps are lived, and take in the episodes that ended.

        Args:
            done: steps of all lives together.
            rows: columns of the episodes table; empty if none ended.
        """
        if rows:
            self.recent.append(rows)
        numbers = ""
        if self.recent and not self.bar.disable:
            reward, met, success = (
                np.concatenate([part[name] for part in self.recent]) for name in ("return", "lag_episodes", "success")
            )
            known = success[(met >= 1) & ~np.isnan(success)]
            numbers = f"return {reward.mean():.3f}" + (f" · known {known.mean():.3f}" if known.size else "")
        self.bar.update(self.task, completed=done, numbers=numbers)
