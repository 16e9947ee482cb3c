"""A run as a report reads it: config, origin and checkpoint facts, and its episode rows or why they cannot be read."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lifelong.agents.checkpoint import has_checkpoint
from lifelong.agents.regular_files import check_regular
from lifelong.envs.stream_file import is_stream_file
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.config import TrainConfig, options
from lifelong.experiments.runs.episodes import Mode, read_episodes
from lifelong.experiments.runs.facts import run_facts
from lifelong.experiments.runs.open_run import LAST, open_run
from lifelong.experiments.runs.trusted import with_trust

__all__ = ["Run", "RunError", "read_rows", "read_run"]

_OF_NO_AGENT = (
    "name", "seed", "runs", "overwrite", "resume", "new_episodes", "threads", "processes", "env_workers", "device",
    "cuda_graph", "checkpoint_every", "keep", "evaluation_lives", "actions", "evaluate_every", "evaluate_mode",
    "evaluate_episodes",
)  # fmt: skip
_OF_THE_STREAM = (
    "stream", "stream_options", "env_kwargs", "feedback", "schedule", "only_task", "boundary", "life_episodes",
    "life_hazard",
)  # fmt: skip


_DESCENT = ("forked", "swapped")  # entries of config.json that say what a run's agent was before


class RunError(ValueError):
    """Part of a run cannot be used; says what and why."""


@dataclass(frozen=True)
class Run:
    """A run directory.

    Args:
        folder: where it is.
        config: resolved.
        origin: versions, git hash, command, device and machine, as far as they were written down.
        sha256: of config.json.
        stream: settings of the stream by name; a stream file is named as the user wrote it, with its content's hash.
        facts: of the checkpoint; empty without one.
        notes: what is to be said of it.
        descent: the run and step that it was forked or swapped from, in words; empty of one that began anew.
    """

    folder: Path
    config: TrainConfig
    origin: Mapping[str, Any]
    sha256: str
    stream: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    descent: str = ""

    @property
    def name(self) -> str:
        """Name of its directory."""
        return self.folder.resolve().name

    @property
    def steps(self) -> int:
        """Environment steps lived; 0 if not known."""
        return int(self.facts.get("steps", 0))

    @property
    def finished(self) -> bool:
        """Whether all steps were lived."""
        return self.steps >= (self.config.steps or 0)

    @property
    def on_cpu(self) -> TrainConfig:
        """The config, for a machine without the run's device."""
        return replace(self.config, device="cpu", cuda_graph="auto")

    @property
    def agent(self) -> dict[str, Any]:
        """Settings that make two runs of a stream the same agent, whatever their seed."""
        settings = self.config.to_json()
        ppo: dict[str, Any] = settings.pop("ppo")
        kept = {name: v for name, v in settings.items() if name not in (*_OF_NO_AGENT, *_OF_THE_STREAM)}
        if self.facts:
            kept["steps"] = self.steps if self.finished else f"{self.steps:,} of {self.config.steps:,}"
        if self.descent:
            kept["from"] = self.descent
        return kept | ppo


def read_run(folder: Path, *, trust: bool = False) -> Run:
    """Return a run.

    Args:
        folder: of the run.
        trust: as of `open_run`.

    Raises:
        UserError: if it has no config that this version reads, or its stream file cannot be read.
    """
    config = open_run(folder, trust).resolved()
    text = (folder / "config.json").read_bytes()
    content = json.loads(text)
    origin = content.get("origin")
    written = content["config"]["stream"]
    stream = {name: getattr(config, name) for name in _OF_THE_STREAM} | {"stream": written}
    stream |= {name: options(stream[name]) for name in ("stream_options", "env_kwargs")}
    if is_stream_file(written):
        stream["file"] = hashlib.sha256(Path(config.stream).read_bytes()).hexdigest()
    facts, notes = _facts(folder)
    run = Run(
        folder, config, origin if isinstance(origin, dict) else {}, hashlib.sha256(text).hexdigest(), stream, facts
    )
    if facts and not run.finished:
        said = f"interrupted at {run.steps:,} of {config.steps:,} steps"
        notes.append(f"{said}; go on with: lifelong train --resume {folder}{with_trust(config)}")
    if anew := facts.get("new_episodes"):
        steps = ", ".join(f"{step:,}" for step in anew)
        notes.append(f"it went on with new episodes after {steps} steps: others than of an uninterrupted run")
    if skipped := int(facts.get("evaluations_skipped", 0)):
        notes.append(f"evaluations left out of the performance matrix, since 5 % of the steps are the most: {skipped}")
    notes += [f"a table of its training is damaged: {name}" for name in _damaged(folder)]
    if (folder / "crash.json").exists() and not run.finished:
        notes.append("its environment broke; crash.json says how")
    descent = next((f"{Path(of['run']).name} at {of['step']:,}" for of in map(content.get, _DESCENT) if of), "")
    return replace(run, notes=tuple(notes), descent=descent)


def read_rows(folder: Path, mode: Mode, expected: int | None = None) -> tuple[Rows, tuple[str, ...]]:
    """Return the episode rows of a mode, and what is to be said of them.

    Args:
        folder: that has a folder `episodes`.
        mode: of the rows.
        expected: rows that the checkpoint counts; None is not known.

    Raises:
        RunError: if there are none, or a part cannot be read.
    """
    try:
        rows = read_episodes(folder, [mode])
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise RunError(_broken_part(folder, mode) or f"its rows cannot be read: {error}") from error
    count = rows["step"].size
    if not count:
        raise RunError(f"it has no finished episode of mode {mode}")
    notes = []
    numbers = sorted(int(path.stem.rpartition("-")[2]) for path in (folder / "episodes").glob(f"{mode}-*.parquet"))
    if numbers and numbers != list(range(numbers[-1] + 1)):
        raise RunError(f"parts of its rows of mode {mode} are missing: {len(numbers)} of {numbers[-1] + 1} are there")
    if expected is not None and count < expected:
        raise RunError(f"it has {count:,} rows of mode {mode}, its checkpoint counts {expected:,}")
    old = int((rows["meetings"] < 0).sum())
    if old:
        part = "its rows" if old == count else f"{old:,} of its {count:,} rows"
        notes.append(
            f"{part} of mode {mode} were written by version 0.1, without meetings and load: "
            "they do not count for first exposure and for the surface of load and lag"
        )
    return rows, tuple(notes)


def _facts(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the facts of a run's checkpoint, and why there are none."""
    if not has_checkpoint(folder / LAST):
        return {}, ["it has no checkpoint: steps and seconds are not known"]
    try:
        return run_facts(folder), []
    except (OSError, ValueError) as error:
        return {}, [f"its checkpoint cannot be read, so steps and seconds are not known: {error}"]


def _damaged(folder: Path) -> list[str]:
    """Return the names of tables of training that are no Parquet files; only their ends are read."""
    found = []
    for path in sorted((folder / "episodes").glob("train-*.parquet")):
        try:
            check_regular(path)
            pq.read_metadata(path)
        except (OSError, pa.ArrowException):
            found.append(f"episodes/{path.name}")
    return found


def _broken_part(folder: Path, mode: Mode) -> str:
    """Return which part cannot be read and why, or nothing."""
    columns: Counter[str] = Counter()
    for path in sorted((folder / "episodes").glob(f"{mode}-*.parquet")):
        if not path.stat().st_size:
            return f"episodes/{path.name} is empty"
        try:
            check_regular(path)
            columns.update(pq.read_table(path).column_names)
        except (OSError, ValueError, pa.ArrowException) as error:
            return f"episodes/{path.name} cannot be read: {str(error).splitlines()[0]}"
        if missing := [name for name in ("step", "task", "return") if not columns[name]]:
            return f"episodes/{path.name} is no part of an episodes table: it has no column {missing[0]!r}"
    return ""
