"""Results of a study: an index of one JSON line for each trial, and the measurements of each as Parquet. No server.

    <study>/results/index.jsonl      the study's name first, then a line for each result: its keys, arm, seed, facts
    <study>/results/<key>.parquet    its measurements

Only the process that runs the study writes here. A line is written after its rows, so that what the index names is
there; a line that a killed process left incomplete is dropped. A result whose file is missing counts as none: its trial
is run again, or its result is read again where its run still has it.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lifelong.agents.durable import writing
from lifelong.agents.regular_files import check_regular
from lifelong.experiments.runs.errors import UserError, as_user_error, error_text
from lifelong.experiments.studies.measurements import COLUMNS
from lifelong.experiments.studies.trial import Result, Trial

__all__ = ["Found", "Store", "read_rows", "write_rows"]

_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in COLUMNS.items()])
_FORMAT = 1


@dataclass(frozen=True)
class Found:
    """A result in a store.

    Args:
        key: hash of what was trained and tested, and of the code.
        asked: hash of what was trained and tested, by any code.
        code: version of the code.
        arm: name of the arm.
        seed: of the trial.
        purpose: `final` or `tune`.
        facts: see `Result`.
    """

    key: str
    asked: str
    code: str
    arm: str
    seed: int
    purpose: str
    facts: dict[str, Any]


class Store:
    """Results of one study.

    Args:
        folder: of the study.
        study: its name.
        stream: that it is on.

    Raises:
        UserError: if the folder has results of another study, or an index that cannot be read.
    """

    def __init__(self, folder: Path, study: str, stream: str) -> None:
        self.folder, self._study, self._stream = folder / "results", study, stream
        self.index = self.folder / "index.jsonl"
        self._found: dict[str, Found] = {}
        self._begun = False
        try:
            text = self.index.read_text(encoding="utf-8") if self.index.exists() else ""
            whole = text[: text.rfind("\n") + 1]  # the last line may be incomplete
            if not whole:
                if text:  # not even the head was written
                    with writing(self.index):
                        self.index.unlink()
                return
            head, *lines = map(json.loads, whole.splitlines())
            there, of, version = str(head["study"]), str(head["stream"]), int(head["format"])
            found = [Found(**line) for line in lines if line.pop("finished", None)]
            self._found = {one.key: one for one in found if (self.folder / f"{one.key}.parquet").exists()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self.index} is no index of a study: {error_text(error)}") from error
        if version > _FORMAT:
            raise UserError(
                f"{self.index} has format {version}, this version reads up to {_FORMAT}: upgrade lifelong-rl"
            )
        if (there, of) != (study, stream):
            raise UserError(
                f"{self.folder} has results of the study {there!r} on {of}, not of {study!r} on {stream}: "
                "take another --output, or name"
            )
        self._begun = True
        if whole != text:
            with writing(self.index):
                self.index.write_text(whole, encoding="utf-8")

    def __len__(self) -> int:
        return len(self._found)

    def get(self, trial: Trial, *, any_code: bool = False) -> Found | None:
        """Return the result of a trial; None if there is none.

        Args:
            trial: what was asked.
            any_code: whether a result of other code counts where there is none of this code.
        """
        if (found := self._found.get(trial.key)) is not None or not any_code:
            return found
        asked = trial.asked
        return next((one for one in reversed(self._found.values()) if one.asked == asked), None)

    def add(self, trial: Trial, result: Result) -> Found:
        """Write the result of a trial, and return it as it is found from now on."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_rows(self.folder / f"{trial.key}.parquet", result.rows)
        found = Found(trial.key, trial.asked, trial.code, trial.arm, trial.seed, trial.purpose, result.facts)
        if not self._begun:
            self._append({"study": self._study, "stream": self._stream, "format": _FORMAT})
            self._begun = True
        self._append(vars(found) | {"finished": datetime.now(UTC).isoformat(timespec="seconds")})
        self._found[found.key] = found
        return found

    def rows(self, found: Found) -> dict[str, list[Any]]:
        """Return the measurements of a result.

        Raises:
            UserError: if they cannot be read.
        """
        return read_rows(self.folder / f"{found.key}.parquet")

    def _append(self, line: Mapping[str, Any]) -> None:
        with writing(self.index), self.index.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def write_rows(path: Path, rows: Mapping[str, Iterable[Any]], first: Mapping[str, Iterable[Any]] | None = None) -> None:
    """Write measurements as Parquet, whole or not at all.

    Args:
        path: of the file.
        rows: columns of `COLUMNS`.
        first: columns in front of them, such as arm and seed.
    """
    columns = {name: pa.array(list(values)) for name, values in (first or {}).items()}
    columns |= {field.name: pa.array(list(rows[field.name]), field.type) for field in _SCHEMA}
    temporary = path.with_suffix(".tmp")
    with writing(path):
        pq.write_table(pa.table(columns), temporary, compression="zstd")
        temporary.replace(path)


def read_rows(path: Path) -> dict[str, list[Any]]:
    """Return the columns of a file of measurements.

    Raises:
        UserError: if it cannot be read.
    """
    with as_user_error(pa.ArrowException, OSError, prefix=f"cannot read {path}: "):
        check_regular(path)
        table = pq.read_table(path)
    return {name: table.column(name).to_pylist() for name in table.column_names}
