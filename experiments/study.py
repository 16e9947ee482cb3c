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

import html
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from lifelong.agents.durable import writing
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.names import check_stream
from lifelong.experiments.settings.study import (
    Asked,
    CheckConfig,
    JudgeConfig,
    RegisterConfig,
    ReportConfig,
    RunConfig,
)
from lifelong.experiments.studies.study_file import read_study_file

__all__ = ["command"]


def command(asked: Asked) -> None:
    """Run a part of a study.

    Raises:
        UserError: if something in the study is wrong.
        SystemExit: with code 1 if a trial failed, or a page differs from its rows.
    """
    if asked.config.file.is_file():
        _check_words(asked.config.file, asked.config.trust)
    parts: dict[str, Callable[[Any], None]] = {
        "check": _check,
        "register": _register,
        "run": _run,
        "judge": _judge,
        "report": _report,
    }
    parts[asked.part](asked.config)


def _check_words(path: Path, trust: bool) -> None:
    """Validate what can be without anything slow: entries, names of memories and of the stream, measures, contrasts."""
    file = read_study_file(path, trust=trust)
    try:
        check_stream(file.stream)
    except UserError as error:
        raise file.error(("stream",), str(error), file.stream) from error


def _check(config: CheckConfig) -> None:
    from lifelong.experiments.studies.overview import overview
    from lifelong.experiments.studies.study import Study

    study = Study.from_file(config.file, config.output, trust=config.trust)
    sys.stdout.write(overview(study, Console(stderr=True), measure=not config.quick))


def _register(config: RegisterConfig) -> None:
    from lifelong.experiments.studies.registration import REGISTERED, register
    from lifelong.experiments.studies.study import Study

    study = Study.from_file(config.file, config.output, trust=config.trust)
    plans, begun = study.plans, study.begun  # what cannot be run is not registered
    found, new = register(study.file, study.folder, begun)
    said = "registered" if new else f"was registered on {found.date}"
    sys.stdout.write(
        f"{study.file.name}: {said}: hypotheses {len(study.file.hypotheses)}, arms {len(plans)}, "
        f"seeds {len(found.seeds)}, SHA-256 {found.sha256[:16]}..., commit {(found.git or 'none')[:12]}\n"
    )
    sys.stderr.write(f"{'wrote' if new else 'kept'} {study.folder / REGISTERED}\n")


def _run(config: RunConfig) -> None:
    from lifelong.experiments.studies.registration import check_seeds
    from lifelong.experiments.studies.running import run_study
    from lifelong.experiments.studies.study import Study

    study = Study.from_file(config.file, config.output, trust=config.trust)
    check_seeds(study.file, study.registration)
    failed = run_study(study, Console(stderr=True), workers=config.workers, ray=config.ray, any_code=config.any_code)
    if failed:
        raise SystemExit(1)
    sys.stdout.write(f"{study.file.name}: all trials are there; lifelong study judge {study.file.path}\n")


def _judge(config: JudgeConfig) -> None:
    from lifelong.experiments.reports.markdown import markdown_table
    from lifelong.experiments.studies.page import judgements_table
    from lifelong.experiments.studies.study import Study

    study = Study.from_file(config.file, config.output, trust=config.trust)
    judgements = study.judge(partial=config.partial)
    table = judgements_table(judgements, study.standing)
    notes = dict.fromkeys(note for one in judgements for note in one.notes)
    said = [f"{table.caption}", "", html.unescape(markdown_table(table)), "", *(f"- {note}" for note in notes)]
    sys.stdout.write("\n".join(said).rstrip() + "\n" if judgements else "the study has no hypotheses\n")


def _report(config: ReportConfig) -> None:
    from lifelong.experiments.reports.page_check import tell_check
    from lifelong.experiments.runs.errors import check_output
    from lifelong.experiments.studies.page import check_report, write_report
    from lifelong.experiments.studies.study import Study

    if config.check and config.file.is_dir():
        tell_check(check_report, config.file)
        return
    study = Study.from_file(config.file, config.output, trust=config.trust)
    folder = config.to or study.folder / "report"
    if config.check:
        tell_check(check_report, folder)
        return
    check_output(folder, folder=True)
    with writing(folder):
        written = write_report(study, folder, partial=config.partial)
    sys.stderr.writelines(f"wrote {path}\n" for path in written)
