"""Rows of l2logger 1.8, which l2metrics reads: a lifetime as learning and evaluation blocks, and single-task runs.

    OUTPUT/lifetimes/RUN/logger_info.json, scenario_info.json
    OUTPUT/lifetimes/RUN/lives/<block>-<train or test>/data-log.tsv
    OUTPUT/single_task/RUN/...                          of runs that were trained on one task alone

    L2DATA=OUTPUT/l2data python -m l2metrics -s a -R -l OUTPUT/single_task        first: the references
    L2DATA=OUTPUT/l2data python -m l2metrics -R -l OUTPUT/lifetimes -t contrast

l2metrics wants numpy < 2 and pandas < 2.2, and pyarrow for what `-R` saves.

Columns of a row, one for each episode:

| column | meaning |
| --- | --- |
| block_num, block_type, block_subtype | number of the block, `train` or `test`, `wake` |
| exp_num | number of the episode, over the whole run |
| worker_id | the life, as life-3 |
| task_name, task_params | `<label>_<variant>` as l2logger wants names, and the task's own name |
| exp_status, timestamp | `complete`, and when the run was begun: episodes are not timed |
| reward, normalised, success, episode_step_count | return, its normalised form, success, steps |
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from lifelong.experiments.exports.blocks import Blocks, blocks_of
from lifelong.experiments.exports.source import Source, Written
from lifelong.experiments.metrics.rows import Rows

__all__ = ["task_names", "write"]

_METRICS = {"reward": "return", "normalised": "normalised", "success": "success", "episode_step_count": "length"}
"""l2logger's column -> ours; `reward` and `episode_step_count` are the names that l2metrics takes by default."""


def write(sources: Sequence[Source], output: Path) -> Written:
    """Write each run as a folder of l2logger.

    Args:
        sources: the runs.
        output: folder to write to.

    Raises:
        UserError: if the lives of a run do not go from task to task together.
    """
    blocks = [blocks_of(source) for source in sources]
    folders, notes = [], []
    for source, found in zip(sources, blocks, strict=True):
        folder = output / ("single_task" if source.alone else "lifetimes") / source.name
        _write(source, found, folder)
        folders.append(folder)
        if not found.steps.size:
            notes.append(f"{source.name} was not evaluated in training, so l2metrics finds no maintenance or transfer")
    return Written(tuple(folders), tuple(notes))


def task_names(tasks: Mapping[int, str]) -> dict[int, str]:
    """Return names as `<label>_<variant>`, of letters and digits: doorkey-5x5 becomes doorkey_5x5.

    Args:
        tasks: names by number.
    """
    found: dict[int, str] = {}
    for number, name in tasks.items():
        words = re.findall(r"[0-9a-zA-Z]+", name) or ["task"]
        made = f"{''.join(words[:-1]) or words[0]}_{words[-1] if len(words) > 1 else 'default'}".lower()
        found[number] = f"{made}{number}" if made in found.values() else made
    return found


def _write(source: Source, blocks: Blocks, folder: Path) -> None:
    known = {name: ours for name, ours in _METRICS.items() if not np.isnan(source.train[ours]).all()}
    once = np.unique(blocks.task).size == np.unique(blocks.visit).size
    scenario = "ste" if source.alone else "condensed" if once else "dispersed"
    about = {"scenario_type": scenario, "run": str(source.folder), "config": source.config.to_json()} | source.origin
    folder.mkdir(parents=True)
    for name, content in (
        ("logger_info", {"metrics_columns": list(known), "log_format_version": "1.1"}),
        ("scenario_info", about),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    began = datetime.fromtimestamp((source.folder / "config.json").stat().st_mtime).strftime("%Y%m%dT%H%M%S.%f")
    names = task_names(source.tasks)
    experiences = 0
    for number, (kind, rows) in enumerate(_sequence(source, blocks)):
        task, count = rows["task"].tolist(), rows["task"].size
        columns = {
            "block_num": np.full(count, number),
            "exp_num": np.arange(experiences, experiences + count),
            "worker_id": [f"life-{life}" for life in rows["life"].tolist()],
            "block_type": [kind] * count,
            "block_subtype": ["wake"] * count,
            "task_name": [names[i] for i in task],
            "task_params": [json.dumps({"task": source.tasks[i]}) for i in task],
            "exp_status": ["complete"] * count,
            "timestamp": [began] * count,
        } | {name: rows[ours] for name, ours in known.items()}
        experiences += count
        path = folder / "lives" / f"{number}-{kind}" / "data-log.tsv"
        path.parent.mkdir(parents=True)
        pa_csv.write_csv(pa.table(columns), path, pa_csv.WriteOptions(delimiter="\t", quoting_style="needed"))


def _sequence(source: Source, blocks: Blocks) -> Iterator[tuple[str, Rows]]:
    """Yield training blocks and evaluations in order, each with its rows; an evaluation goes task by task."""
    tests = source.evaluations
    for block in range(-1, blocks.task.size):
        if block >= 0:
            yield "train", _chosen(source.train, np.flatnonzero(blocks.row == block))
        for step in blocks.steps[blocks.after == block]:
            mine = np.flatnonzero(tests["train_step"] == step)
            yield "test", _chosen(tests, mine[np.argsort(tests["task"][mine], kind="stable")])


def _chosen(rows: Rows, mine: NDArray[np.int64]) -> Rows:
    return {name: column[mine] for name, column in rows.items()}
