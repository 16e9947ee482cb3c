"""Registration of a study: what was predicted, before the first trial.

`registered.json` in the study's folder holds date, git and code hash, the SHA-256 of the study file, and the file
itself. A study whose file has changed since, or that was registered after its first trial, or never, is *exploratory*.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from lifelong.agents.durable import writing
from lifelong.experiments.runs.code_version import code_hash, git_hash
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies.study_file import StudyFile
from lifelong.experiments.studies.trial import write_json
from lifelong.schema import read_fields
from lifelong.tables import parse_json, parse_toml

__all__ = ["REGISTERED", "Registration", "check_seeds", "read_registration", "register", "standing"]

REGISTERED = "registered.json"
"""File of a study's folder."""


@dataclass(frozen=True)
class Registration:
    """A registration.

    Args:
        study: name.
        date: UTC.
        git: commit of the code; None without git.
        code: hash of the code that trains.
        sha256: of the study file.
        seeds: that were registered.
        file: the text of the study file.
    """

    study: str
    date: str
    git: str | None
    code: str
    sha256: str
    seeds: tuple[int, ...]
    file: str


def register(file: StudyFile, folder: Path, trials: int) -> tuple[Registration, bool]:
    """Register a study, and return the registration and whether it is new.

    Args:
        file: of the study.
        folder: of the study.
        trials: that have results or have begun.

    Raises:
        UserError: if trials have begun, and the file is not the one that was registered.
    """
    before = read_registration(folder)
    if before is not None and before.study != file.name:
        raise UserError(
            f"{folder / REGISTERED} is of the study {before.study!r}, not of {file.name!r}: take another --output"
        )
    if before is not None and before.sha256 == file.sha256:
        return before, False
    if trials:
        since = "was registered as another file" if before is not None else "was not registered"
        raise UserError(
            f"study {file.name!r} {since}, and {trials} of its trials have begun: registering comes before; "
            "this one stays exploratory, another --output begins anew"
        )
    date = datetime.now(UTC).isoformat(timespec="seconds")
    found = Registration(file.name, date, git_hash(), code_hash(), file.sha256, file.seeds, file.text)
    with writing(folder / REGISTERED):
        folder.mkdir(parents=True, exist_ok=True)
        if before is not None:  # it stays, under its date
            (folder / REGISTERED).replace(folder / f"registered-{re.sub(r'[^0-9]', '', before.date[:19])}.json")
        write_json(folder / REGISTERED, asdict(found))
    return found, True


def read_registration(folder: Path) -> Registration | None:
    """Return the registration of a study's folder; None if there is none.

    Raises:
        UserError: if it cannot be read.
    """
    path = folder / REGISTERED
    try:
        found = Registration(**read_fields(Registration, parse_json(path.read_text(encoding="utf-8"))))
        parse_toml(found.file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no registration: {error}") from error
    return found


def check_seeds(file: StudyFile, registration: Registration | None) -> None:
    """Validate that a study has all seeds that were registered.

    Raises:
        UserError: if it has fewer; with the line.
    """
    if registration is None:
        return
    if missing := sorted(set(registration.seeds) - set(file.seeds)):
        raise file.error(
            ("seeds",),
            f"{len(file.seeds)} seeds, {len(registration.seeds)} were registered; missing are "
            f"{', '.join(map(str, missing))}: a registered study is run with all of them",
        )


def standing(file: StudyFile, registration: Registration | None, seeds: Mapping[str, Collection[int]]) -> str:
    """Return why a study is exploratory, as a sentence; empty if it is as it was registered.

    Args:
        file: of the study.
        registration: of it; None without one.
        seeds: that have results, by arm; none at all before the first.
    """
    if registration is None:
        return "exploratory: it was not registered"
    if registration.sha256 == file.sha256:
        there = min((len(set(registration.seeds) & set(seeds.get(arm.name, ()))) for arm in file.arms), default=0)
        if not any(seeds.values()) or there == len(registration.seeds):
            return ""
        return f"exploratory: of {len(registration.seeds)} seeds that were registered {there} have all arms so far"
    changed = _changed(registration.file, file.text)
    return f"exploratory: its file was changed after its registration on {registration.date[:10]}" + (
        f" ({', '.join(changed)})" if changed else ""
    )


def _changed(before: str, now: str) -> list[str]:
    """Return the entries in which two study files differ; nothing if only comments and spaces do."""
    old, new = parse_toml(before), parse_toml(now)
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]
