"""Train the same agents with two checkouts, and print the table of same-learner.md.

    git worktree add ../before 426d4a2^
    python -P docs/measured/same_learner.py ../before . /tmp/runs        20 minutes of one core

Every training of the one has the seed and settings of one of the other, the stream's preset, and 200,000 steps. The
table says how many episodes of training are the same, to the last bit of their returns, before the first that is not.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.runs.episodes import read_episodes

STREAMS = ("cued-recall", "rooms", "reversal", "doors")
SEEDS = range(5)
STEPS = 200_000
LIVES = 64
"""Lives of the evaluation, with the agent frozen."""

HEAD = ("stream", "seed", "episodes", "the same before the first other one", "mean return", "frozen, new lives")


def train(checkout: Path, runs: Path, stream: str, seed: int, *more: str) -> Path:
    """Train with a checkout's code and more words, unless that was done; return the run."""
    run = runs / f"{stream}-{seed}"
    if not (run / "episodes").exists():
        words = ["train", stream, "--seed", seed, "--steps", STEPS, "--evaluation-lives", LIVES,
                 "--evaluate-every", "off", "--runs", runs, "--name", run.name, "--threads", "1", *more]  # fmt: skip
        environ = os.environ | {"PYTHONPATH": str(checkout.resolve() / "src"), "PYTHONSAFEPATH": "1"}
        code = "from lifelong.cli import main; main()"
        subprocess.run([sys.executable, "-P", "-c", code, *map(str, words)], env=environ, check=True)  # noqa: S603  ours
    return run


def episodes(run: Path) -> NDArray[np.float64]:
    """Return [5, episodes] step, life, number, length and return of the episodes of training."""
    rows = read_episodes(run, ["train"])
    return np.stack([rows[name] for name in ("step", "life", "episode", "length", "return")]).astype(np.float64)


def line(stream: str, seed: int, before: Path, after: Path) -> str:
    """Return a row of the table."""
    old, new = episodes(before), episodes(after)
    if old.shape != new.shape:
        count = min(old.shape[1], new.shape[1])
        old, new = old[:, :count], new[:, :count]
    same = (old == new).all(0)
    first = "all" if same.all() else f"{int(np.argmin(same)):,}"
    frozen = [read_episodes(run, ["frozen"])["return"].mean() for run in (before, after)]
    cells = (stream, seed, f"{same.size:,}", first, f"{old[-1].mean():.4f}, {new[-1].mean():.4f}",
             f"{frozen[0]:.3f}, {frozen[1]:.3f}")  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def main(before: Path, after: Path, runs: Path) -> None:
    """Train, and print the table."""
    sys.stdout.write(f"| {' | '.join(HEAD)} |\n| --- | ---: | ---: | ---: | --- | --- |\n")
    for stream in STREAMS:
        for seed in SEEDS:
            old = train(before, runs / "before", stream, seed)
            new = train(after, runs / "after", stream, seed, "--processes", "1")  # before, there was no other number
            sys.stdout.write(line(stream, seed, old, new) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -P docs/measured/same_learner.py BEFORE AFTER RUNS")
    main(*map(Path, sys.argv[1:]))
