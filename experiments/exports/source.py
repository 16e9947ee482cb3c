"""Source of an export: a run's episodes, the names of its tasks, and what it was made with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lifelong.envs import parse_schedule
from lifelong.envs.composed_schedules import InSteps, Order
from lifelong.envs.schedules import Block, Cyclic
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import MODES, read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.open_run import open_run

__all__ = ["Source", "Written", "labels", "open_source"]

_NO_METHOD = ("name", "seed", "runs", "overwrite", "resume", "threads", "processes", "env_workers", "device",
              "cuda_graph", "checkpoint_every", "keep", "only_task", "log", "actions")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written:
    """What an export has written.

    Args:
        paths: files and folders.
        notes: sentences on what a reader must know.
    """

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A run to be exported.

    Args:
        folder: of the run.
        config: it was made with, resolved.
        origin: versions, git hash and command, as `config.json` has them.
    """

    folder: Path
    config: TrainConfig
    origin: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.folder.resolve().name

    @cached_property
    def train(self) -> Rows:
        """Rows of training."""
        rows = read_episodes(self.folder, ["train"])
        if not rows["step"].size:
            raise UserError(f"{self.folder} has no finished episode of training")
        return rows

    @cached_property
    def evaluations(self) -> Rows:
        """Rows of evaluations during training; none if there were none."""
        return read_episodes(self.folder, [self.config.evaluate_mode])

    @cached_property
    def tasks(self) -> dict[int, str]:
        """Names of the tasks that have rows, by number."""
        named: dict[int, str] = {}
        for mode in MODES:
            rows = read_episodes(self.folder, [mode], ["task", "task_name"])
            numbers, first = np.unique(rows["task"], return_index=True)
            named |= {int(number): str(rows["task_name"][i]) for number, i in zip(numbers, first, strict=True)}
        return dict(sorted(named.items()))

    @property
    def alone(self) -> bool:
        """Whether one task alone was trained: a single-task reference."""
        return np.unique(self.train["task"]).size == 1

    def block_steps(self) -> int:
        """Return the environment steps of a block, by the schedule.

        Raises:
            UserError: if blocks are counted in episodes, or there are none.
        """
        text = self.config.schedule
        schedule = make_env(self.config, num_envs=1).schedule if text is None else parse_schedule(text)
        if isinstance(schedule, InSteps) and isinstance(schedule.schedule, Block | Cyclic | Order):
            return schedule.schedule.episodes
        raise UserError(
            f"this format needs blocks of equal steps, --schedule 'cyclic:20000 steps' or alike; {self.folder} has "
            f"{text or type(schedule).__name__}"
        )


def open_source(folder: Path, *, trust: bool = False) -> Source:
    """Return a run to be exported.

    Args:
        folder: of the run.
        trust: as of `open_run`.

    Raises:
        UserError: if the folder holds no run.
    """
    config = open_run(folder, trust).resolved()
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Source(folder, config, content.get("origin") or {})


def labels(sources: Sequence[Source]) -> list[str]:
    """Return the method of each run: its memory, and each setting in which the runs differ.

    Runs that differ in their seed alone, or in the only task they were trained on, have the same label.
    """
    names = [field.name for field in fields(TrainConfig) if field.name not in ("memory", *_NO_METHOD)]
    varied = [name for name in names if len({str(getattr(source.config, name)) for source in sources}) > 1]
    return [
        ", ".join([source.config.memory, *(f"{name}={_text(getattr(source.config, name))}" for name in varied)])
        for source in sources
    ]


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)
