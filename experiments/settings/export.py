"""Settings of `lifelong export`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, as_user_error, check_output
from lifelong.registry import Entry, find, table

__all__ = ["ExportConfig", "read"]

FORMATS = table(
    "lifelong.experiments.exports",
    {
        "l2logger": Entry("l2logger:write", "rows of learning and evaluation blocks, for l2metrics"),
        "continual-world": Entry("continual_world:write", "progress.tsv of Continual World's result tool"),
        "cora": Entry("cora:write", "TensorBoard events with CORA's tags"),
        "rliable": Entry("rliable:write", "normalised scores [seeds, tasks] by method, NumPy"),
        "csv": Entry("csv_rows:write", "all rows, tasks by name"),
    },
)


@dataclass(frozen=True)
class ExportConfig:
    """Write runs' episodes in the format of another program.

    Args:
        runs: directories of the runs.
        format: l2logger, continual-world, cora, rliable or csv.
        output: folder to write to, new or empty.
        trust: import the code that runs name: a memory or an environment that is neither registered nor of an
            installed package.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    format: str
    output: Path
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        with as_user_error():
            find("format", self.format, FORMATS)
        if not self.runs:
            raise UserError("export needs at least one run")
        check_output(self.output, folder=True)
        if self.output.is_dir() and any(self.output.iterdir()):
            raise UserError(f"{self.output} is not empty, and readers take all that they find: give another --output")


def read(words: list[str]) -> ExportConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    return parse(ExportConfig, words, "export")
