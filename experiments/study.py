"""Studies: arms, seeds, tests and predictions as a file; its trials, and what they say of the predictions.

    lifelong study check STUDY.toml       trials, sizes, what is unequal, and hours; nothing is written
    lifelong study register STUDY.toml    the predictions, before the first trial
    lifelong study run STUDY.toml         all trials, as many at a time as there are cores; the same command goes on
    lifelong study run STUDY.toml --ray auto      on a Ray cluster
    lifelong study judge STUDY.toml       each prediction: supported, refuted, or not told apart
    lifelong study report STUDY.toml      a page with tables and figures, and the rows they are made of
    lifelong study report STUDY.toml --check      make every number of that page anew

A study file is described in `studies/study_file.py` and docs/studies.md; `experiments/studies/smoke.toml` is one.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from lifelong.registry import nearest

__all__ = ["SUBVERBS", "command"]

Toml = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STUDY.toml")]


@dataclass(frozen=True)
class CheckConfig:
    """Check a study file; print trials, sizes, what is unequal, and estimated hours. Nothing is written.

    Args:
        file: the study.
        output: folder of the study; if not given, runs/studies/NAME.
        quick: do not measure how fast the arms train, which takes seconds for each.
    """

    file: Toml
    output: Path | None = None
    quick: bool = False


@dataclass(frozen=True)
class RegisterConfig:
    """Register a study before its first trial: date, commit, and the SHA-256 of its file.

    Args:
        file: the study.
        output: folder of the study; if not given, runs/studies/NAME.
    """

    file: Toml
    output: Path | None = None


@dataclass(frozen=True)
class RunConfig:
    """Run the trials of a study that are missing.

    Args:
        file: the study.
        output: folder of the study; if not given, runs/studies/NAME.
        workers: trials at a time; 0 is one for every core.
        ray: run on a Ray cluster: `auto`, its address, or `local`, one of this machine. All its machines need to see
            the output folder.
        any_code: keep results of other code; if not given, their trials are run again.
    """

    file: Toml
    output: Path | None = None
    workers: int = 0
    ray: str | None = None
    any_code: bool = False


@dataclass(frozen=True)
class JudgeConfig:
    """Judge the predictions of a study by its results.

    Args:
        file: the study.
        output: folder of the study; if not given, runs/studies/NAME.
        partial: judge what is there, though seeds are missing.
    """

    file: Toml
    output: Path | None = None
    partial: bool = False


@dataclass(frozen=True)
class ReportConfig:
    """Write the page of a study, its figures and the rows they are made of, or check such a page.

    Args:
        file: the study; with `check` also the folder of a report.
        output: folder of the study; if not given, runs/studies/NAME.
        to: folder of the report; if not given, `report` in the study's.
        partial: report what is there, though seeds are missing.
        check: make every number of the page anew from its rows, and fail if one differs.
    """

    file: Toml
    output: Path | None = None
    to: Path | None = None
    partial: bool = False
    check: bool = False


def command(arguments: list[str]) -> None:
    """Run the part of a study that the first word names.

    Raises:
        UserError: if it names none, or something in the study is wrong.
        SystemExit: with code 1 if a trial failed, or a page differs from its rows.
    """
    part, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if part in ("-h", "--help"):
        sys.stdout.write(_usage())
        return
    from lifelong.experiments.runs.errors import UserError  # not above: torch, which help does without

    if part not in SUBVERBS:
        hint = nearest(part, SUBVERBS) if part else ""
        raise UserError(f"study {part or 'what'}?{hint} known: {', '.join(SUBVERBS)}")
    SUBVERBS[part][0](rest)


def _usage() -> str:
    lines = "\n".join(f"  {name:<8}  {summary}" for name, (_, summary) in SUBVERBS.items())
    return f"usage: lifelong study PART STUDY.toml [OPTIONS]\n\n{lines}\n\nlifelong study PART --help tells more.\n"


def _check(arguments: list[str]) -> None:
    from lifelong.experiments.runs.arguments import parse
    from lifelong.experiments.studies.overview import overview
    from lifelong.experiments.studies.study import Study

    config = parse(CheckConfig, arguments, "study check")
    study = Study.from_file(config.file, config.output)
    sys.stdout.write(overview(study, Console(stderr=True), measure=not config.quick))


def _register(arguments: list[str]) -> None:
    from lifelong.experiments.runs.arguments import parse
    from lifelong.experiments.studies.registration import REGISTERED, register
    from lifelong.experiments.studies.study import Study

    config = parse(RegisterConfig, arguments, "study register")
    study = Study.from_file(config.file, config.output)
    plans, begun = study.plans, study.begun  # what cannot be run is not registered
    found, new = register(study.file, study.folder, begun)
    said = "registered" if new else f"was registered on {found.date}"
    sys.stdout.write(
        f"{study.file.name}: {said}: hypotheses {len(study.file.hypotheses)}, arms {len(plans)}, "
        f"seeds {len(found.seeds)}, SHA-256 {found.sha256[:16]}..., commit {(found.git or 'none')[:12]}\n"
    )
    sys.stderr.write(f"{'wrote' if new else 'kept'} {study.folder / REGISTERED}\n")


def _run(arguments: list[str]) -> None:
    from lifelong.experiments.runs.arguments import parse
    from lifelong.experiments.runs.errors import UserError
    from lifelong.experiments.studies.registration import check_seeds
    from lifelong.experiments.studies.running import run_study
    from lifelong.experiments.studies.study import Study

    config = parse(RunConfig, arguments, "study run")
    if config.workers < 0:
        raise UserError(f"workers must not be negative: workers={config.workers}")
    if config.ray is not None and config.workers:
        raise UserError(f"a cluster has workers of its own: --ray {config.ray} excludes --workers {config.workers}")
    study = Study.from_file(config.file, config.output)
    check_seeds(study.file, study.registration)
    failed = run_study(study, Console(stderr=True), workers=config.workers, ray=config.ray, any_code=config.any_code)
    if failed:
        raise SystemExit(1)
    sys.stdout.write(f"{study.file.name}: all trials are there; lifelong study judge {study.file.path}\n")


def _judge(arguments: list[str]) -> None:
    from lifelong.experiments.reports.markdown import markdown_table
    from lifelong.experiments.runs.arguments import parse
    from lifelong.experiments.studies.page import judgements_table
    from lifelong.experiments.studies.study import Study

    config = parse(JudgeConfig, arguments, "study judge")
    study = Study.from_file(config.file, config.output)
    judgements = study.judge(partial=config.partial)
    table = judgements_table(judgements, study.standing)
    notes = dict.fromkeys(note for one in judgements for note in one.notes)
    said = [f"{table.caption}", "", markdown_table(table), "", *(f"- {note}" for note in notes)]
    sys.stdout.write("\n".join(said).rstrip() + "\n" if judgements else "the study has no hypotheses\n")


def _report(arguments: list[str]) -> None:
    from lifelong.experiments.runs.arguments import parse
    from lifelong.experiments.runs.errors import check_output
    from lifelong.experiments.studies.page import check_report, write_report
    from lifelong.experiments.studies.study import Study

    config = parse(ReportConfig, arguments, "study report")
    if config.check and config.file.is_dir():
        _tell_check(check_report, config.file)
        return
    study = Study.from_file(config.file, config.output)
    folder = config.to or study.folder / "report"
    if config.check:
        _tell_check(check_report, folder)
        return
    check_output(folder, folder=True)
    written = write_report(study, folder, partial=config.partial)
    sys.stderr.writelines(f"wrote {path}\n" for path in written)


def _tell_check(check: Callable[[Path], int], folder: Path) -> None:
    """Print how a check ended.

    Raises:
        SystemExit: with code 1 if a number differs.
    """
    from lifelong.experiments.runs.errors import UserError

    try:
        numbers = check(folder)
    except UserError:
        raise
    except ValueError as error:
        sys.stderr.write(f"lifelong: {error}\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"{folder}: all {numbers:,} numbers are what the rows say\n")


SUBVERBS: dict[str, tuple[Callable[[list[str]], None], str]] = {
    "check": (_check, "trials, sizes, what is unequal, and estimated hours; nothing is written"),
    "register": (_register, "the predictions, before the first trial"),
    "run": (_run, "the trials that are missing, on this machine or a Ray cluster"),
    "judge": (_judge, "each prediction: supported, refuted, or not told apart"),
    "report": (_report, "a page with tables, figures and rows; --check makes its numbers anew"),
}
"""What a study is asked for, with one line each."""
