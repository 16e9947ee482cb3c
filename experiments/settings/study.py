"""Words of `lifelong study`: one of its parts, and the settings of that part."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields
from lifelong.experiments.runs.sizes import CountOrZero
from lifelong.registry import nearest
from lifelong.tables import TableError, read_file

__all__ = ["SUBVERBS", "Asked", "CheckConfig", "JudgeConfig", "RegisterConfig", "ReportConfig", "RunConfig", "read"]

Toml = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STUDY.toml")]


@dataclass(frozen=True)
class CheckConfig:
    """Check a study file; print trials, sizes, what is unequal, and estimated hours. Nothing is written.

    Args:
        file: the study.
        output: folder of the study; if not given, runs/studies/NAME.
        trust: import the code that the study names: memories and environments that are neither registered nor of an
            installed package.
        quick: do not measure how fast the arms train, which takes seconds for each.
    """

    file: Toml
    output: Path | None = None
    trust: bool = False
    quick: bool = False


@dataclass(frozen=True)
class RegisterConfig:
    """Register a study before its first trial: date, commit, and the SHA-256 of its file.

    Args:
        file: the study.
        output: folder of the study; if not given, runs/studies/NAME.
        trust: import the code that the study names: memories and environments that are neither registered nor of an
            installed package.
    """

    file: Toml
    output: Path | None = None
    trust: bool = False


@dataclass(frozen=True)
class RunConfig:
    """Run the trials of a study that are missing.

    Args:
        file: the study.
        output: folder of the study; if not given, runs/studies/NAME.
        workers: trials at a time; 0 is one for every core.
        ray: run on a Ray cluster: `auto`, its address, or `local`, one of this machine. All its machines need to see
            the output folder.
        trust: import the code that the study names: memories and environments that are neither registered nor of an
            installed package.
        any_code: keep results of other code; if not given, their trials are run again.
    """

    file: Toml
    output: Path | None = None
    workers: CountOrZero = 0
    ray: str | None = None
    trust: bool = False
    any_code: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        if self.ray is not None and self.workers:
            raise UserError(f"a cluster has workers of its own: --ray {self.ray} excludes --workers {self.workers}")


@dataclass(frozen=True)
class JudgeConfig:
    """Judge the predictions of a study by its results.

    Args:
        file: the study.
        output: folder of the study; if not given, runs/studies/NAME.
        trust: import the code that the study names: memories and environments that are neither registered nor of an
            installed package.
        partial: judge what is there, though seeds are missing.
    """

    file: Toml
    output: Path | None = None
    trust: bool = False
    partial: bool = False


@dataclass(frozen=True)
class ReportConfig:
    """Write the page of a study, its figures and the rows they are made of, or check such a page.

    Args:
        file: the study; with `check` also the folder of a report.
        output: folder of the study; if not given, runs/studies/NAME.
        to: folder of the report; if not given, `report` in the study's.
        trust: import the code that the study names: memories and environments that are neither registered nor of an
            installed package.
        partial: report what is there, though seeds are missing.
        check: make every number of the page anew from its rows, and fail if one differs.
    """

    file: Toml
    output: Path | None = None
    to: Path | None = None
    trust: bool = False
    partial: bool = False
    check: bool = False


SUBVERBS: dict[str, tuple[type, str]] = {
    "check": (CheckConfig, "trials, sizes, what is unequal, and estimated hours; nothing is written"),
    "register": (RegisterConfig, "the predictions, before the first trial"),
    "run": (RunConfig, "the trials that are missing, on this machine or a Ray cluster"),
    "judge": (JudgeConfig, "each prediction: supported, refuted, or not told apart"),
    "report": (ReportConfig, "a page with tables, figures and rows; --check makes its numbers anew"),
}
"""What a study is asked for: settings, and one line."""


class Asked(NamedTuple):
    """What a study is asked for."""

    part: str
    """One of `SUBVERBS`."""
    config: Any
    """Its settings."""


def read(words: list[str]) -> Asked:
    """Return the part that the first word names, and the settings that the others ask for.

    Raises:
        UserError: if it names none, or its settings do not fit.
        SystemExit: if the help was asked for, with code 0.
    """
    part, rest = (words[0], words[1:]) if words else ("", [])
    if part in ("-h", "--help"):
        sys.stdout.write(_usage())
        raise SystemExit(0)
    if part not in SUBVERBS:
        hint = nearest(part, SUBVERBS) if part else ""
        raise UserError(f"study {part or 'what'}?{hint} known: {', '.join(SUBVERBS)}")
    config: Any = parse(SUBVERBS[part][0], rest, f"study {part}")
    if not config.file.is_dir():  # a report's folder may be checked
        try:
            read_file(config.file)
        except TableError as error:
            raise UserError(str(error)) from error
    return Asked(part, config)


def _usage() -> str:
    lines = "\n".join(f"  {name:<8}  {summary}" for name, (_, summary) in SUBVERBS.items())
    return f"usage: lifelong study PART STUDY.toml [OPTIONS]\n\n{lines}\n\nlifelong study PART --help tells more.\n"
