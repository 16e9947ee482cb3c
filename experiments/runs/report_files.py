"""Files of one measurement of a run: runs/NAME/report/<name>.json and so on, and the TensorBoard run runs/NAME/<name>.

A measurement is named after all that was asked otherwise than usual; the same question again replaces its files.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from lifelong.agents import Carry
from lifelong.agents.durable import writing
from lifelong.experiments.runs.actions import Actions

__all__ = ["ReportFiles", "report_name"]


def report_name(
    first: str,
    *,
    actions: Actions = "drawn",
    carry: Carry = "lifetime",
    schedule: str | None = None,
    options: tuple[str, ...] = (),
    seed: int = 0,
    lives: int | None = None,
) -> str:
    """Return the name of a measurement; what is as usual is left out.

    Args:
        first: what was asked, such as `frozen-2048`.
        actions: how the agent acts.
        carry: what ends the memory.
        schedule: which task comes next; None for that of training.
        options: more settings.
        seed: of the lives.
        lives: how many; None for as many as in the evaluation of training.
    """
    parts = [first]
    parts += [actions] if actions != "drawn" else []
    parts += [carry] if carry != "lifetime" else []
    parts += [schedule] if schedule is not None else []
    parts += [*options]
    parts += [f"seed{seed}"] if seed else []
    parts += [f"lives{lives}"] if lives is not None else []
    return "-".join(re.sub(r"[^\w.]+", "-", part) for part in parts)


class ReportFiles:
    """Writes the files of a measurement in place of those of the same name.

    Args:
        run: directory of the run.
        name: of the measurement.
        suffixes: of all files that it may write, such as `.json`; files of before are removed.
    """

    def __init__(self, run: Path, name: str, suffixes: tuple[str, ...]) -> None:
        self.folder, self.events, self._name = run / "report", run / name, name
        self.rows = self.folder / name
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
        self._verb = "replaced" if self.rows.exists() else "wrote"
        self._written: list[Path] = []
        files = (self.folder / f"{name}{suffix}" for suffix in suffixes)
        for old in (*files, *self.events.rglob("events.out.tfevents.*")):
            old.unlink(missing_ok=True)

    def add(self, suffix: str) -> Path:
        """Return the path of a file that is written now."""
        return self.added(self.folder / f"{self._name}{suffix}")

    def added(self, path: Path) -> Path:
        """Note that a file or folder is written now, and return it."""
        self._written.append(path)
        return path

    def write_json(self, content: Mapping[str, Any]) -> None:
        """Write the JSON file; numbers that are not known (NaN) become null, what JSON has no word for text."""
        with writing(self.folder):
            self.add(".json").write_text(json.dumps(_plain(content), indent=1) + "\n", encoding="utf-8")

    def show(self, console: Console) -> None:
        """Print a line for each file."""
        for path in self._written:
            console.print(f"{self._verb} {path}", markup=False, highlight=False, soft_wrap=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value if value is None or isinstance(value, int | float | str) else str(value)
