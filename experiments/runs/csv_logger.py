"""CSV logger: scalars of a run as lines `tag,step,value` of one file, appended while it is trained."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifelong.agents.durable import writing
from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.runs.tensorboard import retention_scalars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CsvLogger"]

_HEADER = ["tag", "step", "value"]


class CsvLogger:
    """Writes `scalars.csv` in the run's folder; tags and steps are those of TensorBoard. Figures are not written.

    Args:
        folder: of the run.
        config: not written: `config.json` holds it.
        purge_step: environment steps from which on lines that are there are dropped. None for a new run.
    """

    def __init__(
        self, folder: Path | str, config: Mapping[str, Any] | None = None, *, purge_step: int | None = None
    ) -> None:
        path = self._path = Path(folder) / "scalars.csv"
        kept = _read(path, purge_step) if purge_step is not None and path.is_file() else []
        temporary = path.with_name(f".{path.name}.tmp")
        with writing(path):
            with temporary.open("w", newline="") as file:
                csv.writer(file).writerows([_HEADER, *kept])
            temporary.replace(path)
            self._file = path.open("a", newline="")
            self._writer = csv.writer(self._file)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers by tag, and flush; NaN, "not known", is left out."""
        self._writer.writerows([tag, step, float(value)] for tag, value in values.items() if not math.isnan(value))
        self.flush()

    def retention(self, curve: RetentionCurve, step: int | None) -> None:
        """Write the bins of a retention curve, its area and half-life; nothing where it has no value or no step."""
        if curve.measured and step is not None:
            self.scalars(retention_scalars(curve), step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Do nothing: a table holds no figures."""

    def finish(self, values: Mapping[str, float], step: int) -> None:
        """Write the final metrics."""
        self.scalars(values, step)

    def files(self) -> list[Path]:
        """Return the table."""
        return [self._path]

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()


def _read(path: Path, purge_step: int) -> list[list[str]]:
    """Return the whole lines before a step; what a killed process left of its last line is none, nor is what is odd."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = [line.replace("\0", "") for line in file if line.endswith("\n")]
    rows = [row for row in csv.reader(lines[1:]) if len(row) == len(_HEADER) and row[1].isdecimal()]
    return [row for row in rows if int(row[1]) < purge_step]
