"""Logs of Continual World, as its `produce_results.py` reads them.

    OUTPUT/cl/RUN/progress.tsv, config.json             sequences
    OUTPUT/single/RUN/progress.tsv, config.json         runs on one task alone, the references of forward transfer

A line for each evaluation. Task i is the i-th visit of the run: a task that comes back is one more, as in CW20.

| column | meaning |
| --- | --- |
| test/stochastic/<i>/<name>/success, return/avg, std, max, min, ep_length | of the copies of the living agent |
| test/stochastic/average_success | mean over the tasks |
| epoch, total_env_steps, current_task_steps | number of the evaluation; steps of training, of all and of this visit |
| train/return/..., train/ep_length, train/success | of the episodes of training since the evaluation before |
| train/active_env | visit that was trained last |

Its tables average the last five evaluations of a block and of the run, so they need five in each block.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from lifelong.experiments.exports.blocks import Blocks, blocks_of
from lifelong.experiments.exports.source import Source, Written, labels
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.errors import UserError

__all__ = ["write"]

_WINDOW = 5  # evaluations that its tables average


def write(sources: Sequence[Source], output: Path) -> Written:
    """Write each run as a folder of Continual World.

    Args:
        sources: the runs.
        output: folder to write to.

    Raises:
        UserError: if a run has no evaluations, its tasks do not tell success, or its blocks are not of equal steps.
    """
    found = []
    for source, method in zip(sources, labels(sources), strict=True):
        rows = source.evaluations
        if not rows["step"].size:
            raise UserError(
                f"{source.folder} was not evaluated in training, and Continual World's log is of evaluations: "
                "train with --evaluate-every N"
            )
        if np.isnan(rows["success"]).any():
            raise UserError(f"the tasks of {source.folder} do not tell success, which Continual World's log is of")
        found.append((source, blocks_of(source), _config(source, method)))
    folders, notes = [], []
    for source, blocks, config in found:
        folder = output / ("single" if source.alone else "cl") / source.name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        lines = _lines(source, blocks, config)
        table = pa.table({name: [line[name] for line in lines] for name in lines[0]})
        pa_csv.write_csv(table, folder / "progress.tsv", pa_csv.WriteOptions(delimiter="\t", quoting_style="none"))
        folders.append(folder)
        counts = np.bincount(_active(blocks))
        if counts[counts > 0].min() < _WINDOW:
            notes.append(
                f"Continual World's tables average the last {_WINDOW} evaluations of a block; {source.name} has "
                f"{counts[counts > 0].min()} in one: --evaluate-every N"
            )
    return Written(tuple(folders), tuple(notes))


def _config(source: Source, method: str) -> dict[str, Any]:
    """Return the entries that the reader makes columns of."""
    shared = {"seed": source.config.seed, "cl_method": method}
    if source.alone:
        task = source.tasks[int(source.train["task"][0])]
        return shared | {"task": task, "steps": source.config.steps}
    return shared | {"steps_per_task": source.block_steps()}


def _active(blocks: Blocks) -> Any:
    """Return [K] the visit that was trained before each evaluation; the first one before all training."""
    return blocks.visit[np.maximum(blocks.after, 0)]


def _lines(source: Source, blocks: Blocks, config: dict[str, Any]) -> list[dict[str, float]]:
    active, tests, train = _active(blocks), source.evaluations, source.train
    visits = np.unique(active)
    task_of = dict(zip(blocks.visit.tolist(), blocks.task.tolist(), strict=True))
    begin = np.concatenate([[0], np.maximum.accumulate(blocks.steps)[:-1]])
    lines = []
    for k, step in enumerate(blocks.steps.tolist()):
        line: dict[str, float] = {}
        now, successes = tests["train_step"] == step, []
        for place, visit in enumerate(visits.tolist()):
            task = task_of[visit]
            head = f"test/stochastic/{place}/{source.tasks[task]}"
            line |= _measured(head, tests, now & (tests["task"] == task))
            successes.append(line[f"{head}/success"])
        line["test/stochastic/average_success"] = float(np.mean(successes))
        line |= {"epoch": k + 1, "total_env_steps": step}
        line["current_task_steps"] = step - int(active[k]) * config.get("steps_per_task", 0)
        line |= _measured("train", train, (train["step"] > begin[k]) & (train["step"] <= step))
        if not source.alone:
            line["train/active_env"] = int(np.searchsorted(visits, active[k]))
        lines.append(line)
    return lines


def _measured(head: str, rows: Rows, mine: Any) -> dict[str, float]:
    """Return the columns of some rows; NaN without any."""
    returns = rows["return"][mine].astype(np.float64)
    ends: dict[str, Any] = {"avg": np.mean, "std": np.std, "max": np.max, "min": np.min}
    found = {f"{head}/return/{name}": float(end(returns)) if mine.any() else np.nan for name, end in ends.items()}
    for name, column in (("ep_length", "length"), ("success", "success")):
        found[f"{head}/{name}"] = float(rows[column][mine].mean()) if mine.any() else np.nan
    return found
