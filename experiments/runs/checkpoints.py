"""When a training writes its checkpoints, and where: in the background, at most 2 % of its time."""

import time
from contextlib import suppress
from pathlib import Path

from lifelong.experiments.runs.background import Background
from lifelong.experiments.runs.config import every
from lifelong.experiments.runs.directory import Captured

__all__ = ["Checkpoints"]

_SHARE = 0.02  # of the time, beyond which checkpoints by the clock are rarer than asked


class Checkpoints:
    """Writes the checkpoints of one training.

    Args:
        text: seconds or steps between two, as `60s` or `20000`.
        keep: checkpoints to keep.
    """

    def __init__(self, text: str, keep: int) -> None:
        self._seconds, self._steps = every(text)
        self._keep, self._background = keep, Background()
        self._at, self._counted, self._cost = time.monotonic(), 0, 0.0
        self.written: Captured | None = None
        """The last state that is on the disk."""

    def start(self, steps: int) -> None:
        """Count time and steps from now.

        Args:
            steps: environment steps so far.
        """
        self._at, self._counted = time.monotonic(), steps

    def due(self, steps: int) -> bool:
        """Return whether one is to be written now.

        Args:
            steps: environment steps so far.
        """
        if not self._seconds:
            return self._steps > 0 and steps - self._counted >= self._steps
        waited = time.monotonic() - self._at
        return (
            waited >= max(self._seconds, (self._cost + self._background.spent) / _SHARE) and not self._background.busy
        )

    def begin(self, folder: Path, captured: Captured, began: float) -> None:
        """Write one while training goes on.

        Args:
            folder: of the run.
            captured: what is written.
            began: `time.monotonic()` before the preparations, which count as its cost.

        Raises:
            OSError: if the one before could not be written.
        """
        kept = captured.on_cpu()
        self._background.start(lambda: self._write(folder, kept, captured))
        self.start(captured.steps)
        self._cost = self._at - began

    def write(self, folder: Path, captured: Captured) -> None:
        """Write one now.

        Args:
            folder: of the run.
            captured: what is written.

        Raises:
            OSError: if that is not possible.
        """
        self._background.wait()
        if self.written is not captured:
            self._write(folder, captured.on_cpu(), captured)
        self.start(captured.steps)

    def wait(self) -> None:
        """Wait until all are written.

        Raises:
            OSError: if one could not be written.
        """
        self._background.wait()

    def close(self) -> None:
        """Wait until all are written; what went wrong is for those who write."""
        with suppress(Exception):
            self._background.wait()

    def _write(self, folder: Path, kept: Captured, captured: Captured) -> None:
        kept.save(folder, self._keep)
        self.written = captured
