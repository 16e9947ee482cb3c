"""Settings of `lifelong report`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from lifelong.experiments.reports.figure_formats import FORMATS
from lifelong.experiments.reports.find_runs import find_runs
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_output

__all__ = ["ReportConfig", "read"]


@dataclass(frozen=True)
class ReportConfig:
    """Write a report of finished runs: a page, Markdown, and a figure.

    Args:
        runs: directories of runs, folders of runs, or patterns of them.
        report: name of a report of `lifelong retention`; if not given, the evaluation at the end of training, and of
            task sequences the training too.
        output: the page, written with .html and .md; if not given, `report` in the run, or beside the runs.
        figure: write the retention curves there too: .pdf, .svg or .png.
        check: write nothing; make every number of the written report anew from the runs' rows, or of a study's report,
            named in place of the runs, from the rows beside it. The exit code is 1 if one differs.
        trust: import the code that runs name: a memory or an environment that is neither registered nor of an
            installed package.
    """

    runs: tyro.conf.Positional[tuple[str, ...]] = ("runs",)
    report: str | None = None
    output: Path | None = None
    figure: Path | None = None
    check: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_output(self.figure)
        if self.figure is not None and self.figure.suffix.lower() not in FORMATS:
            raise UserError(f"figure must end in {', '.join(FORMATS)}: figure={self.figure}")
        if not self.runs:
            raise UserError("runs must name at least one run or folder of runs")
        if self.check and self.figure is not None:
            raise UserError(f"--check writes nothing, also no --figure {self.figure}")

    @property
    def studies(self) -> list[Path]:
        """Folders of reports of studies among the runs."""
        return [Path(word) for word in self.runs if (Path(word) / "trials.json").is_file()]


def read(words: list[str]) -> ReportConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(ReportConfig, words, "report")
    if not (config.check and config.studies):
        find_runs(config.runs)
    return config
