"""The episodes table: one row for every episode that ended, in Parquet parts that survive a killed process.

`EpisodeLog` gathers rows in memory and writes them as parts, `<run>/episodes/<mode>-<number>.parquet`. A part is
written under a temporary name, synced and renamed, so there are whole parts and no others; a killed process loses the
rows it had not flushed. Columns are those of `lifelong.envs.stream.ROW`, and

| column | meaning |
| --- | --- |
| task_name | name of the task |
| train_step | environment steps of training before the evaluation; -1 in rows of training |
| mode | how the agent lived |

| mode | meaning |
| --- | --- |
| train | slow weights learn; in one endless life that is the online regime, the stream's own reward the score |
| probe | a copy of the living agent is evaluated, what its memory writes is dropped after every episode |
| sandbox | a copy of the living agent is evaluated, what its memory writes is dropped at the end |
| empty | a copy of the living agent is evaluated, its memory emptied before every episode |
| frozen | new lives of the agent, its slow weights frozen, its memory written; 0.1 called that sandbox |
| greedy | as frozen, with the most probable actions; elsewhere they are drawn, unless a report's name says so |

All metrics are functions of this table: see `lifelong.experiments.metrics`.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lifelong.agents.durable import sync_folder, writing
from lifelong.agents.regular_files import check_regular
from lifelong.envs.stream import ROW
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.errors import UserError, as_user_error

__all__ = ["FROZEN", "MODES", "EpisodeLog", "Mode", "read_episodes"]

Mode = Literal["train", "probe", "sandbox", "frozen", "empty", "greedy"]
MODES: tuple[Mode, ...] = get_args(Mode)
FROZEN: dict[Actions, Mode] = {"drawn": "frozen", "greedy": "greedy"}
"""Mode of rows of frozen lives, by how the agent acts."""

_NAME_TYPE, _MODE_TYPE = pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.string())
_SCHEMA = pa.schema(
    [(name, pa.from_numpy_dtype(np.dtype(dtype))) for name, dtype in ROW.items()]
    + [("train_step", pa.int64()), ("task_name", _NAME_TYPE), ("mode", _MODE_TYPE)]
)
_ABSENT = {"meetings": -1, "load": -1, "train_step": -1, "old_answer": -1, "since_change": -1}
"""Columns that older versions did not write, and what stands in their place."""
_LEAST: dict[str, int] = dict.fromkeys(("step", "life", "episode", "task", "visit", "index_in_visit", "length"), 0)
"""Least value of columns; -1 of the others."""
_MOST = 2**53
# Counters that only grow, or jump by little, are cheapest as differences.
_GROWING = dict.fromkeys(("step", "life", "episode", "visit", "index_in_visit"), "DELTA_BINARY_PACKED")
_ENCODING: dict[str, Any] = {
    "compression": "zstd",
    "write_page_checksum": True,
    "use_dictionary": [name for name in _SCHEMA.names if name not in _GROWING],
    "column_encoding": _GROWING,
}


class EpisodeLog:
    """Appends the episodes of one mode to a run's table.

    Args:
        folder: of the run; parts go to its subfolder `episodes`.
        mode: how the agent lives, see the module.
        tasks: names of the stream's tasks, by number.
        part_rows: rows after which a part is written without being asked.

    Raises:
        ValueError: if the mode is none of `MODES`.
    """

    def __init__(
        self, folder: Path | str, mode: Mode = "train", *, tasks: Sequence[str] = (), part_rows: int = 2**15
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        self.folder, self.mode, self.part_rows = Path(folder) / "episodes", mode, part_rows
        self.tasks = tuple(tasks)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(f".{mode}-*.tmp"):
                leftover.unlink()
        self._parts = [(path, _rows_of(path)) for path in _parts(self.folder, [mode])]
        self._waiting: list[tuple[Rows, int]] = []  # rows and their step of training
        self._waiting_rows = 0

    @property
    def parts(self) -> tuple[int, ...]:
        """Rows of each part on disk."""
        return tuple(rows for _, rows in self._parts)

    @property
    def rows(self) -> int:
        """Rows of this mode, on disk and waiting to be written."""
        return sum(self.parts) + self._waiting_rows

    def append(self, rows: Rows, train_step: int = -1) -> None:
        """Add episodes.

        Args:
            rows: columns of `ROW`, as in `info["episodes"]`; the arrays are kept, not copied, until the next flush.
            train_step: environment steps of training before an evaluation.

        Raises:
            ValueError: if columns are missing, unknown or of unequal length; nothing is added then.
        """
        if rows.keys() != ROW.keys():
            raise ValueError(f"rows need the columns of ROW; missing or unknown: {sorted(rows.keys() ^ ROW.keys())}")
        count = len(rows["step"])
        if wrong := [name for name, column in rows.items() if np.shape(column) != (count,)]:
            raise ValueError(f"columns must be of one length, {count}: {wrong}")
        self._waiting.append((rows, train_step))
        self._waiting_rows += count
        if self._waiting_rows >= self.part_rows:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one part and make it durable."""
        if self._waiting_rows:
            columns = [
                np.concatenate([rows[name] for rows, _ in self._waiting]).astype(ROW[name], copy=False) for name in ROW
            ]
            steps = np.repeat([step for _, step in self._waiting], [len(rows["step"]) for rows, _ in self._waiting])
            tasks, task = np.unique(columns[list(ROW).index("task")], return_inverse=True)
            names = [self.tasks[number] if number < len(self.tasks) else f"task {number}" for number in tasks]
            name = pa.DictionaryArray.from_arrays(task.astype(np.int32), names)
            mode = pa.DictionaryArray.from_arrays(np.zeros(self._waiting_rows, np.int8), [self.mode])
            table = pa.table([*map(pa.array, columns), pa.array(steps), name, mode], schema=_SCHEMA)
            number = int(self._parts[-1][0].stem.rpartition("-")[2]) + 1 if self._parts else 0
            path = self.folder / f"{self.mode}-{number:06}.parquet"
            _write(table, path)
            self._parts.append((path, self._waiting_rows))
        self._waiting, self._waiting_rows = [], 0

    def truncate(self, rows: int) -> None:
        """Forget all but the first rows: what was lived after a checkpoint.

        Args:
            rows: of this mode to keep, as `rows` said when the checkpoint was made.

        Raises:
            UserError: if there are not so many rows; nothing is changed then.
        """
        self.flush()
        if not 0 <= rows <= self.rows:
            raise UserError(f"{self.folder} has {self.rows} rows of mode {self.mode}, the checkpoint counts {rows}")
        while self._parts and self.rows > rows:  # from the end, so that a kill in between leaves a whole beginning
            path, _ = self._parts.pop()
            keep = rows - self.rows
            if keep > 0:
                _write(pq.read_table(path).slice(0, keep), path)
                self._parts.append((path, keep))
            else:
                path.unlink()
        sync_folder(self.folder)

    def damaged(self) -> list[str]:
        """Return what is wrong with parts on disk that cannot be read whole, or of training are not in their place."""
        faults, last = [], -1
        for path, _ in self._parts:
            try:
                steps = _read(path, [*ROW, "train_step", "task_name"]).column("step").to_numpy()
            except UserError as error:
                faults.append(str(error))
                continue
            if self.mode == "train" and steps.size:
                if steps[0] < last or (np.diff(steps) < 0).any():
                    faults.append(f"{path} is not the table that was written: its steps begin before {last}")
                last = max(last, int(steps[-1]))
        return faults

    def since(self, first: int) -> Rows:
        """Return the rows on disk from one on, by the columns of `ROW`; parts before it are not read.

        Args:
            first: number of the first, from 0.
        """
        tables, at = [_SCHEMA.empty_table().select(list(ROW))], 0
        for path, rows in self._parts:
            if at + rows > first:
                tables.append(_read(path, list(ROW)).slice(max(first - at, 0)))
            at += rows
        table = pa.concat_tables(tables, promote_options="permissive")
        return {name: table.column(name).to_numpy() for name in ROW}

    def move(self, folder: Path) -> None:
        """Go on in a run's folder that was renamed.

        Args:
            folder: its new name.
        """
        self.folder = folder / "episodes"
        self._parts = [(self.folder / path.name, rows) for path, rows in self._parts]

    def close(self) -> None:
        """Write what waits."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_episodes(
    folder: Path | str, modes: Iterable[Mode] | None = None, columns: Sequence[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Read a run's episodes, in the order in which they ended, mode by mode.

    Args:
        folder: of the run; it may be written at the same time.
        modes: to read; None is all.
        columns: to read; None is all.

    Returns:
        Columns by name, [rows] each. `mode` is int8, an index into `MODES`; `task_name` is text, only on demand.

    Raises:
        ValueError: if a column is unknown.
    """
    names = list(columns if columns is not None else [name for name in _SCHEMA.names if name != "task_name"])
    if unknown := [name for name in names if name not in _SCHEMA.names]:
        raise ValueError(f"unknown columns {unknown}; there are {', '.join(_SCHEMA.names)}")
    paths = _parts(Path(folder) / "episodes", modes)
    stored = [name for name in names if name != "mode"] or ["step"]
    tables = [_read(path, stored) for path in paths]
    table = pa.concat_tables(tables, promote_options="permissive") if tables else _SCHEMA.empty_table()
    found = {name: table.column(name).to_numpy() for name in stored}
    if "mode" in names:
        numbers = [MODES.index(_mode(path)) for path in paths]
        found["mode"] = np.repeat(np.array(numbers, np.int8), [part.num_rows for part in tables])
    return {name: found[name] for name in names}


def _rows_of(path: Path) -> int:
    with as_user_error(pa.ArrowException, OSError, prefix=f"cannot read {path}: "):
        check_regular(path)
        return int(pq.read_metadata(path).num_rows)


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    """Return columns of a part; those that older versions did not write are filled in."""
    with as_user_error(pa.ArrowException, OSError, prefix=f"cannot read {path}: "):
        check_regular(path)
        there = set(pq.read_schema(path).names)
        stored = [name for name in columns if name in there]
        table = pq.read_table(path, columns=stored, page_checksum_verification=True)
        for name in table.column_names:
            _check_column(name, table.column(name))
    for name in columns:
        if name not in there:
            table = table.append_column(_SCHEMA.field(name), _filled(name, path, table.num_rows))
    return table


def _check_column(name: str, column: pa.ChunkedArray) -> None:
    """Validate a column of rows, which may come from a damaged file.

    Raises:
        ValueError: if it has another type, empty places, or numbers that no row has.
    """
    kind = _SCHEMA.field(name).type
    if column.type != kind or column.null_count:
        raise ValueError(f"{name} must be {kind}, got {column.type} with {column.null_count} empty")
    if not len(column) or name not in ROW:
        return
    values = column.to_numpy()
    if values.dtype.kind == "i":
        least, lowest, highest = _LEAST.get(name, -1), values.min(), values.max()
        if lowest < least or highest > _MOST:
            wrong = lowest if lowest < least else highest
            raise ValueError(f"{name} must lie in {least} to {_MOST}, got {wrong}")
    elif name == "return" and not np.isfinite(values).all():
        raise ValueError(f"return must be finite, got {values[~np.isfinite(values)][0]}")


def _filled(name: str, path: Path, rows: int) -> pa.Array:
    if name != "task_name":
        return pa.array(np.full(rows, _ABSENT[name]), _SCHEMA.field(name).type)
    task = pq.read_table(path, columns=["task"]).column("task").to_numpy()
    return pa.array([f"task {number}" for number in task], pa.string()).dictionary_encode().cast(_NAME_TYPE)


def _mode(path: Path) -> Any:
    return path.stem.rpartition("-")[0]


def _parts(folder: Path, modes: Iterable[Mode] | None) -> list[Path]:
    """Return the parts of these modes, mode by mode, the oldest first."""
    wanted = MODES if modes is None else tuple(modes)
    parts = [path for mode in wanted for path in sorted(folder.glob(f"{mode}-*.parquet"))]
    if "frozen" in wanted and not any(_mode(path) == "frozen" for path in parts):
        old = [path for path in sorted(folder.glob("sandbox-*.parquet")) if path not in parts and path.is_file()]
        parts += [path for path in old if "train_step" not in pq.read_schema(path).names]
    return parts


def _write(table: pa.Table, path: Path) -> None:
    """Write a part so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.stem}.tmp")
    with writing(path):
        with temporary.open("wb") as file:
            pq.write_table(table, file, **_ENCODING)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
