"""Report of finished runs: a page for the browser, the same in Markdown, and a figure for a paper.

    lifelong report runs/NAME                              one run
    lifelong report runs                                   all runs of a folder, seeds of an agent together
    lifelong report 'runs/*gru*' 'runs/*palimpsa*' --figure retention.pdf
    lifelong report runs --report frozen-2048              what `lifelong retention` measured
    lifelong report runs --check                           are the written report's numbers those of the rows
    lifelong report docs/results/STUDY --check             the same of a study's report, from the rows beside it

Seeds of one agent are averaged, with intervals over seeds; runs of different streams stay apart. What is missing, and
why, is said on the page.
"""

import sys
from collections.abc import Sequence
from os.path import commonpath
from pathlib import Path

from lifelong.agents.durable import writing
from lifelong.experiments.reports.figures import curves_figure, save_figure
from lifelong.experiments.reports.find_runs import find_runs, listed
from lifelong.experiments.reports.groups import Stream, group_runs, sentences
from lifelong.experiments.reports.markdown import markdown, markdown_table
from lifelong.experiments.reports.measure import reports_of
from lifelong.experiments.reports.page import page
from lifelong.experiments.reports.page_check import check_page, tell_check
from lifelong.experiments.reports.run import Run, read_run
from lifelong.experiments.reports.sections import panels, report_blocks, title
from lifelong.experiments.reports.tables import agents_table
from lifelong.experiments.runs.errors import UserError, check_output
from lifelong.experiments.settings.report import ReportConfig
from lifelong.registry import load

__all__ = ["ReportConfig", "command", "main"]


def command(config: ReportConfig) -> None:
    """Run the verb."""
    if config.check:
        check(config)
        return
    text, written = main(config)
    sys.stdout.write(text)
    sys.stderr.writelines(f"wrote {path}\n" for path in written)


def main(config: ReportConfig) -> tuple[str, list[Path]]:
    """Write a report and return its head, the table of agents of each stream, and the files written.

    Args:
        config: what to report.

    Raises:
        UserError: if there are no runs, none can be opened, or none has the report or, for a figure, a curve.
    """
    folders = find_runs(config.runs)
    runs, missing = _opened(folders, trust=config.trust)
    if config.report is not None:
        _check_report(config.report, runs)
    page_path, text_path = _outputs(config.output, folders)
    streams = group_runs(runs, config.report)
    figure = None
    if config.figure is not None:
        drawn = panels(streams)
        if not drawn:
            raise UserError(f"no retention curve to draw: {_why(streams)}")
        figure = curves_figure(drawn, width=5.5)
    blocks = report_blocks(streams, missing, page_path.parent)
    with writing(text_path):
        text_path.parent.mkdir(parents=True, exist_ok=True)
        page_path.write_text(page(blocks, title(runs)), encoding="utf-8", errors="replace")
        text_path.write_text(markdown(blocks, page_path.name), encoding="utf-8", errors="replace")
    written = [page_path, text_path]
    if figure is not None and config.figure is not None:
        with writing(config.figure):
            config.figure.parent.mkdir(parents=True, exist_ok=True)
            save_figure(figure, config.figure)
        written.append(config.figure)
    return _head(streams, missing), written


def check(config: ReportConfig) -> None:
    """Make every number of written reports anew and print how many there are.

    Args:
        config: what was reported: runs, or folders of reports of studies.

    Raises:
        UserError: if there are no runs or no report.
        SystemExit: with code 1 if a number differs.
    """
    for folder in config.studies:  # by name: studies train, and a training of several seeds writes a report
        tell_check(load("check", "lifelong.experiments.studies.page:check_report"), folder)
    words = [word for word in config.runs if Path(word) not in config.studies]
    if not words:
        return
    folders = find_runs(words)
    runs, missing = _opened(folders, trust=config.trust)
    page_path, text_path = _outputs(config.output, folders)
    blocks = report_blocks(group_runs(runs, config.report), missing, page_path.parent)
    tell_check(lambda page: check_page(page, markdown(blocks, page_path.name)), text_path)


def _opened(folders: Sequence[Path], *, trust: bool) -> tuple[list[Run], list[str]]:
    """Return the runs that can be opened, and why others cannot."""
    runs, missing = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder, trust=trust))
        except (UserError, OSError) as error:
            missing.append(str(error))
    if not runs:
        raise UserError(missing[0] + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""))
    return runs, [f"left out: {reason}" for reason in missing]


def _check_report(name: str, runs: Sequence[Run]) -> None:
    known = sorted({report for run in runs for report in reports_of(run)})
    if name not in known:
        raise UserError(f"no run has a report {name!r}; lifelong retention made: {listed(known)}")


def _outputs(output: Path | None, folders: Sequence[Path]) -> tuple[Path, Path]:
    """Return the paths of the page and of its Markdown."""
    if output is None:
        alone = folders[0] / "report" if len(folders) == 1 else None
        parents = [folder.parent for folder in folders]
        if any(parent.is_absolute() for parent in parents):  # relative and absolute ones have no common path
            parents = [parent.absolute() for parent in parents]
        output = (alone or Path(commonpath(parents))) / "report"
    elif output.is_dir():
        output = output / "report"
    if output.suffix in (".html", ".md"):
        output = output.with_suffix("")
    paths = output.with_name(f"{output.name}.html"), output.with_name(f"{output.name}.md")
    for path in paths:
        check_output(path)
    return paths


def _head(streams: Sequence[Stream], missing: Sequence[str]) -> str:
    """Return the table of agents of each stream as Markdown, and what is missing."""
    parts = [
        f"{stream.label}: {part.name}\n\n{markdown_table(agents_table(part))}"
        for stream in streams
        for part in stream.parts
    ]
    said = [*missing, *(note for stream in streams for note in sentences(stream.missing))]
    parts += ["\n".join(f"missing: {note}" for note in said)] if said else []
    return "\n\n".join(parts) + "\n"


def _why(streams: Sequence[Stream]) -> str:
    curves = [one.summary.curve for stream in streams for part in stream.parts for one in part.measured]
    said = [curve.reason for curve in curves] + [note for stream in streams for note in sentences(stream.missing)]
    return next((reason for reason in said if reason), "no run was measured")
