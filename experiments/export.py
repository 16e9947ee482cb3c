"""Write a run's episodes in the format of another program.

lifelong export runs/NAME --format csv --output rows                 all rows, tasks by name
lifelong export runs/* --format rliable --output scores              arrays [seeds, tasks] by method
lifelong export runs/A runs/A-alone* --format l2logger --output l2   a lifetime, and its single-task references
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from lifelong.experiments.exports.source import Written, open_source
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, as_user_error, check_output
from lifelong.registry import Entry, find, load, table

__all__ = ["FORMATS", "ExportConfig", "command", "main"]

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
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    format: str
    output: Path

    def __post_init__(self) -> None:
        """Validate the settings."""
        with as_user_error():
            find("format", self.format, FORMATS)
        if not self.runs:
            raise UserError("export needs at least one run")
        check_output(self.output, folder=True)
        if self.output.is_dir() and any(self.output.iterdir()):
            raise UserError(f"{self.output} is not empty, and readers take all that they find: give another --output")


def command(arguments: list[str]) -> None:
    """Run the verb with words from the command line."""
    main(parse(ExportConfig, arguments, "export"), Console(stderr=True))


def main(config: ExportConfig, console: Console | None = None) -> Written:
    """Write the runs.

    Args:
        config: what to do.
        console: where the paths written go; None keeps quiet.

    Raises:
        UserError: if there is no such run, two have the same name, or one does not fit the format.
    """
    console = console or Console(quiet=True)
    folders = [run for run in config.runs if not run.is_file()]  # a report that the shell found too
    sources = [open_source(run) for run in folders or config.runs]
    names = [source.name for source in sources]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"runs are told apart by the name of their folder, and two are called {twice[0]}")
    written: Written = load("format", find("format", config.format, FORMATS).target)(sources, config.output)
    for path in written.paths:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    for note in written.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    return written
