"""Print docs/measured/exports.md's tables: what our functions say, and what other people's programs say of exports.

    python -P docs/exports.py RUNS --readers PYTHON [--continual-world DIR] [--cora DIR]

RUNS holds sequences called <memory>-<seed> and single-task runs called only-<task>. PYTHON has l2metrics and rliable;
the two DIRs are checkouts of awarelab/continual_world and AGI-Labs/continual_rl. See docs/measured/exports.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.export import ExportConfig, main as export
from lifelong.experiments.exports.blocks import Blocks, blocks_of
from lifelong.experiments.exports.source import Source, open_source
from lifelong.experiments.metrics.aggregate import interquartile_mean, optimality_gap, probability_of_improvement
from lifelong.experiments.metrics.learning_blocks import backward_contrast, forward_contrast, performance_maintenance
from lifelong.experiments.metrics.matrix import forgetting_of_end, isolated_forgetting

READ_BACK = Path(__file__).parents[1] / "tests" / "experiments" / "exports" / "read_back.py"


def read_back(python: str, checkout: str | None, *words: str | Path) -> Any:
    """Return what a program says."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"PYTHONPATH": checkout} if checkout else {}
    command = [python, str(READ_BACK), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)  # noqa: S603  paths of ours
    return json.loads(done.stdout)


def matrix(source: Source, blocks: Blocks, column: str) -> NDArray[np.float64]:
    """Return [evaluations, tasks] the mean of a column."""
    rows = source.evaluations
    cells = [[(rows["train_step"] == step) & (rows["task"] == task) for task in source.tasks] for step in blocks.steps]
    return np.array([[rows[column][mine].mean(dtype=np.float64) for mine in line] for line in cells])


def line(program: str, quantity: str, ours: Any, theirs: Any) -> None:
    """Print one line of the table; arrays by their largest difference."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    known = ~(np.isnan(ours) & np.isnan(theirs))
    apart = float(np.abs(ours - theirs)[known].max())
    first, second = (f"{x:.9f}" if x.ndim == 0 else f"{np.count_nonzero(known)} values" for x in (ours, theirs))
    sys.stdout.write(f"| {program} | {quantity} | {first} | {second} | {apart:.0e} |\n")


def l2metrics(source: Source, alone: list[Path], python: str, folder: Path) -> None:
    """Compare maintenance and transfer."""
    export(ExportConfig((source.folder, *alone), "l2logger", folder))
    found = read_back(python, None, "l2metrics", folder / "lifetimes" / source.name, folder / "single_task")["raw"]
    blocks = blocks_of(source)
    R, trained = matrix(source, blocks, "return"), blocks.trained(np.array(list(source.tasks)))
    maintenance = performance_maintenance(R, trained)
    line(
        "l2metrics", f"{source.name}: performance maintenance by task", maintenance, list(found["maintenance"].values())
    )
    line(
        "l2metrics", f"{source.name}: performance maintenance", np.nanmean(maintenance), found["perf_maintenance_mrlep"]
    )
    for name, function in (("forward", forward_contrast), ("backward", backward_contrast)):
        contrast = np.nanmean(function(R, trained))
        line("l2metrics", f"{source.name}: {name} contrast", contrast, found[f"{name}_transfer_contrast"])


def continual_world(source: Source, alone: list[Path], python: str, checkout: str, folder: Path) -> None:
    """Compare forgetting, from the last five evaluations of blocks and run."""
    export(ExportConfig((source.folder, *alone), "continual-world", folder))
    found = read_back(python, checkout, "continual-world", folder / "cl", folder / "single")
    blocks = blocks_of(source)
    visit = blocks.visit[blocks.after]
    tasks = [list(source.tasks).index(blocks.task[blocks.visit == v][0]) for v in np.unique(visit)]
    R = matrix(source, blocks, "success")[:, tasks]
    last = [np.flatnonzero(visit == v)[-5:] for v in np.unique(visit)]
    windows = np.array([R[k].mean(0) for k in [*last, np.arange(len(R))[-5:]]])
    line("continual_world", f"{source.name}: performance by visit", windows[-1], found["performance"])
    line("continual_world", f"{source.name}: forgetting by visit", forgetting_of_end(windows), found["forgetting"])


def cora(source: Source, python: str, checkout: str, folder: Path) -> None:
    """Compare isolated forgetting, from the last evaluations of blocks."""
    export(ExportConfig((source.folder,), "cora", folder))
    found = read_back(python, checkout, "cora", folder)
    blocks, tasks = blocks_of(source), len(source.tasks)
    R = matrix(source, blocks, "return")
    visit = blocks.visit[blocks.after]
    ends = np.array([R[np.flatnonzero(visit == v)[-1]] for v in np.unique(visit)])
    ours = isolated_forgetting(ends, np.full(tasks, np.nan)) / R.max(0)
    theirs = np.full(ours.shape, np.nan)
    for j, task in enumerate(source.tasks):
        for block, cycles in found[f"eval_reward/{task}"]["forgetting"].items():
            for cycle, (value,) in cycles.items():
                theirs[int(cycle) * tasks + int(block), j] = value
    ours[np.isnan(theirs)] = np.nan  # it leaves out tasks that were not trained yet
    line("continual_rl", f"{source.name}: isolated forgetting", ours, theirs)


def rliable(runs: list[Path], python: str, folder: Path) -> None:
    """Compare aggregates over seeds."""
    export(ExportConfig(tuple(runs), "rliable", folder))
    found, scores = read_back(python, None, "rliable", folder / "scores.npz"), dict(np.load(folder / "scores.npz"))
    for name, theirs in found["methods"].items():
        line("rliable", f"{name}: IQM", interquartile_mean(scores[name]), theirs["iqm"])
        line("rliable", f"{name}: optimality gap", optimality_gap(scores[name]), theirs["optimality_gap"])
    for pair, chance in found["improvement"].items():
        first, second = pair.split(" > ")
        line("rliable", f"P({pair})", probability_of_improvement(scores[first], scores[second]), chance)


def main() -> None:
    """Print the table of all runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    for name in ("--readers", "--continual-world", "--cora"):
        parser.add_argument(name, required=name == "--readers")
    words = parser.parse_args()
    alone = sorted(words.runs.glob("only-*"))
    runs = sorted(path for path in words.runs.iterdir() if path not in alone)
    sys.stdout.write("| program | quantity | ours | theirs | largest difference |\n| --- | --- | --- | --- | --- |\n")
    with tempfile.TemporaryDirectory() as folder:
        for run in runs:
            source, place = open_source(run), Path(folder) / run.name
            l2metrics(source, alone, words.readers, place / "l2")
            if words.continual_world:
                continual_world(source, alone, words.readers, words.continual_world, place / "cw")
            if words.cora:
                cora(source, words.readers, words.cora, place / "cora")
        rliable(runs, words.readers, Path(folder) / "scores")


if __name__ == "__main__":
    main()
