"""TensorBoard event files with CORA's tags, and the table of tasks that its metric script asks for.

    OUTPUT/RUN/events.out.tfevents...    eval_reward/<i>, train_reward/<i>; i is the number of the task
    OUTPUT/experiment.json               what `continual_rl.utils.metrics.Metrics` takes: tasks, runs, steps of a block

| tag | value |
| --- | --- |
| eval_reward/<i> | mean return of an evaluation |
| train_reward/<i> | mean of the last 100 returns of training |

CORA's script counts an evaluation to the block in which it lies and drops one that lies on a boundary, so one that was
taken at a change of task is written one step before the block ends. `rolling_mean_count` is 1: the script's own, 20,
averages over several tasks.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lifelong.experiments.exports.blocks import Blocks, blocks_of
from lifelong.experiments.exports.source import Source, Written, labels
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.errors import UserError

__all__ = ["write"]

_RETURNS = 100  # that CORA averages in training
_POINTS = 1000  # of a training curve


def write(sources: Sequence[Source], output: Path) -> Written:
    """Write each run as event files, and the experiment they are of.

    Args:
        sources: the runs.
        output: folder to write to.

    Raises:
        UserError: if runs have different tasks or blocks, or one has no evaluations or blocks of equal steps.
    """
    for source in sources:
        if not source.evaluations["step"].size:
            raise UserError(
                f"{source.folder} was not evaluated in training, and CORA's metrics are of evaluations: train with "
                "--evaluate-every boundary"
            )
        if source.tasks != sources[0].tasks or source.block_steps() != sources[0].block_steps():
            raise UserError(f"runs of one experiment share tasks and steps of a block: {source.folder} has others than "
                            f"{sources[0].folder}; export them one by one")  # fmt: skip
    steps, blocks = sources[0].block_steps(), [blocks_of(source) for source in sources]
    for source, found in zip(sources, blocks, strict=True):
        _write(source, found, steps, output / source.name)
    path = output / "experiment.json"
    path.write_text(json.dumps(_experiment(sources, blocks[0], steps), indent=1) + "\n", encoding="utf-8")
    return Written((*(output / source.name for source in sources), path))


def _write(source: Source, blocks: Blocks, steps: int, folder: Path) -> None:
    from torch.utils.tensorboard.writer import SummaryWriter

    rows = source.evaluations
    with SummaryWriter(str(folder)) as writer:
        add: Any = writer.add_scalar
        for step, mean, task in _training(source.train):
            add(f"train_reward/{task}", mean, step)
        for k, step in enumerate(blocks.steps.tolist()):
            end = (int(blocks.visit[max(blocks.after[k], 0)]) + 1) * steps
            for task in source.tasks:
                mine = (rows["train_step"] == step) & (rows["task"] == task)
                if mine.any():
                    add(f"eval_reward/{task}", float(rows["return"][mine].mean()), min(step, end - 1))


def _training(rows: Rows) -> list[tuple[int, float, int]]:
    """Return step, mean of the last returns, and task, at even distances."""
    points = []
    apart = max(int(rows["step"].max()) // _POINTS, 1)
    for task in np.unique(rows["task"]).tolist():
        mine = np.flatnonzero(rows["task"] == task)
        step, total = rows["step"][mine], np.concatenate([[0.0], np.cumsum(rows["return"][mine], dtype=np.float64)])
        last = np.flatnonzero(np.diff(step // apart, append=-1))  # of each stretch
        first = np.maximum(last + 1 - _RETURNS, 0)
        mean = (total[last + 1] - total[first]) / (last + 1 - first)
        points += list(zip(step[last].tolist(), mean.tolist(), [task] * last.size, strict=True))
    return sorted(points)


def _experiment(sources: Sequence[Source], blocks: Blocks, steps: int) -> dict[str, Any]:
    returns = np.concatenate([source.evaluations["return"] for source in sources])
    whole = np.unique(blocks.visit)
    task_of = dict(zip(blocks.visit.tolist(), blocks.task.tolist(), strict=True))
    tasks = {
        name: {
            "i": task,
            "y_range": [float(returns.min()), float(returns.max())],
            "train_regions": [
                [visit * steps, (visit + 1) * steps] for visit in whole.tolist() if task_of[visit] == task
            ],
        }
        for task, name in sources[0].tasks.items()
    }
    models: dict[str, dict[str, Any]] = {}
    for source, label in zip(sources, labels(sources), strict=True):
        models.setdefault(label, {"name": label, "runs": [], "color": "rgba(77, 102, 133, 1)", "color_alpha": 0.2})
        models[label]["runs"].append(source.name)
    cycles = max(whole.size // len(tasks), 1)
    return {"tag_base": "eval_reward", "models": models, "tasks": tasks, "num_cycles": cycles,
            "num_cycles_for_forgetting": cycles, "num_task_steps": steps, "rolling_mean_count": 1, "filter": "ma",
            "which_exp": "lifelong", "cache_dir": ".", "exp_dir": "."}  # fmt: skip
