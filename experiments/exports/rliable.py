"""Scores as rliable takes them: for each method an array [seeds, tasks], normalised to 0 random and 1 oracle.

    OUTPUT/scores.npz      by method; dict(numpy.load(...)) is what rliable's functions take
    OUTPUT/scores.json     seeds, tasks and runs behind the arrays, and what the scores are of

    scores = dict(numpy.load("scores.npz"))
    rliable.library.get_interval_estimates(scores, lambda x: numpy.array([rliable.metrics.aggregate_iqm(x)]))

The score of a task is that of the last evaluation in training, else of the frozen agent in new lives after it, by
drawn actions if it took any.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.exports.source import Source, Written, labels
from lifelong.experiments.metrics.gain import scores
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.episodes import FROZEN, read_episodes
from lifelong.experiments.runs.errors import UserError

__all__ = ["final_scores", "write"]

_FEW = 10  # seeds below which rliable's intervals say little


def write(sources: Sequence[Source], output: Path) -> Written:
    """Write the scores of all runs.

    Args:
        sources: the runs.
        output: folder to write to.

    Raises:
        UserError: if runs have different tasks, a run has neither evaluations nor frozen lives, its returns cannot be
            normalised, or a seed comes twice.
    """
    found: dict[str, dict[int, tuple[str, NDArray[np.float64]]]] = {}
    kinds = set()
    for source, label in zip(sources, labels(sources), strict=True):
        score, kind, tasks = final_scores(source)
        first = final_scores(sources[0])[2]
        if tasks != first:
            raise UserError(
                f"scores [seeds, tasks] need the same tasks in all runs: {source.folder} has {', '.join(tasks)}, "
                f"{sources[0].folder} has {', '.join(first)}"
            )
        kinds.add(kind)
        seeds = found.setdefault(label, {})
        if source.config.seed in seeds:
            raise UserError(f"two runs of {label} have seed {source.config.seed}: {seeds[source.config.seed][0]} and "
                            f"{source.folder}")  # fmt: skip
        seeds[source.config.seed] = str(source.folder), score
    if len(kinds) > 1:
        raise UserError(f"scores of all runs must be alike, here they are {' and '.join(sorted(kinds))}")
    arrays = {label: np.stack([runs[seed][1] for seed in sorted(runs)]) for label, runs in found.items()}
    about = {
        "scores": kinds.pop(),
        "tasks": final_scores(sources[0])[2],
        "methods": {label: {"seeds": sorted(runs), "runs": [runs[seed][0] for seed in sorted(runs)]}
                    for label, runs in found.items()},
    }  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    paths = output / "scores.npz", output / "scores.json"
    np.savez(paths[0], **arrays)  # type: ignore[arg-type]
    paths[1].write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    fewest = min(len(runs) for runs in found.values())
    note = f"seeds of a method: {fewest}; an interval says little below {_FEW}, so show the points beside it"
    return Written(paths, (note,) if fewest < _FEW else ())


def final_scores(source: Source) -> tuple[NDArray[np.float64], str, list[str]]:
    """Return the final score of each task [T], what the scores are, and the names of the tasks.

    Raises:
        UserError: if the run has no evaluations, or its returns cannot be normalised.
    """
    rows: Rows = source.evaluations
    if rows["step"].size:
        last = rows["train_step"] == rows["train_step"].max()
        rows, when = {name: column[last] for name, column in rows.items()}, "of copies at the end of training"
    else:
        actions: Actions = "greedy" if source.config.actions == "greedy" else "drawn"
        rows, when = read_episodes(source.folder, [FROZEN[actions]]), "of the frozen agent in new lives"
        when += ", by greedy actions" if actions == "greedy" else ""
    if not rows["step"].size:
        raise UserError(f"{source.folder} was evaluated neither in training nor after it")
    score, scale = scores(rows)
    if scale == "return":
        raise UserError(
            f"the returns of {source.folder} cannot be normalised: its tasks have no reference scores and do not tell "
            "success"
        )
    tasks = np.unique(rows["task"])
    mean = np.array([score[rows["task"] == task].mean(dtype=np.float64) for task in tasks])
    return mean, f"{scale} {when}", [source.tasks[int(task)] for task in tasks]
