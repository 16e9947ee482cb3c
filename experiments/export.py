"""Write a run's episodes in the format of another program.

lifelong export runs/NAME --format csv --output rows                 all rows, tasks by name
lifelong export runs/* --format rliable --output scores              arrays [seeds, tasks] by method
lifelong export runs/A runs/A-alone* --format l2logger --output l2   a lifetime, and its single-task references
"""

from rich.console import Console

from lifelong.agents.durable import writing
from lifelong.experiments.exports.source import Written, open_source
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.settings.export import FORMATS, ExportConfig
from lifelong.registry import find, load

__all__ = ["FORMATS", "ExportConfig", "command", "main"]


def command(config: ExportConfig) -> None:
    """Run the verb."""
    main(config, Console(stderr=True))


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
    sources = [open_source(run, trust=config.trust) for run in folders or config.runs]
    names = [source.name for source in sources]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"runs are told apart by the name of their folder, and two are called {twice[0]}")
    with writing(config.output):
        written: Written = load("format", find("format", config.format, FORMATS).target)(sources, config.output)
    for path in written.paths:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    for note in written.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    return written
