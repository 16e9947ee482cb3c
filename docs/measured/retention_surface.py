"""Print the tables of retention-surface.md, from runs that `lifelong retention` has measured.

python docs/measured/retention_surface.py gated_delta=runs/gated0,runs/gated1 window=runs/window0,runs/window1
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.metrics.recall import recall_curve
from lifelong.experiments.metrics.rows import Rows, bin_label
from lifelong.experiments.runs.episodes import read_episodes

CUES = (16, 32, 64, 128, 256)
BINS = range(1, 12)
CHANCE = 0.25
REPORT = "frozen-4096-interleaved-gap-1-cues-{cues}-lives128"


def table(folders: Sequence[Path], *, first: bool) -> list[str]:
    """Return the lines of a table: a line for each number of cues, in a cell each seed.

    Args:
        folders: of the runs of one agent.
        first: only of cues met once before.
    """
    heading = ["cues", *map(bin_label, BINS), "half-life", "last quarter"]
    lines = [heading, ["---"] * len(heading)]
    for cues in CUES:
        seeds = [read_episodes(folder / "report" / REPORT.format(cues=cues), ["frozen"]) for folder in folders]
        curves = [recall_curve(rows, CHANCE, where=rows["meetings"] == 1 if first else None) for rows in seeds]
        cells = [numbers([curve.rho[k] if k < len(curve.rho) else math.nan for curve in curves]) for k in BINS]
        lines.append([f"{cues}", *cells, ", ".join(map(half_life, curves)), numbers(list(map(last_quarter, seeds)), 3)])
    return [f"| {' | '.join(line)} |" for line in lines]


def last_quarter(rows: Rows) -> float:
    """Return retention over all rows of the last quarter of each life, tasks met before."""
    late = (rows["episode"] >= 0.75 * rows["episode"].max()) & (rows["lag_episodes"] > 0)
    return float((rows["success"][late].mean() - CHANCE) / (1.0 - CHANCE))


def half_life(curve: RetentionCurve) -> str:
    """Return the half-life in episodes without its interval; `>` and the longest lag lived where it is longer."""
    return curve.half_life_label.partition(" (")[0]


def numbers(values: Sequence[float], digits: int = 2) -> str:
    """Return the number of each seed, `-` where it is not known."""
    words = ["-" if math.isnan(value) else f"{value:.{digits}f}" for value in values]
    return "" if set(words) == {"-"} else " ".join(words)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        name, _, runs = argument.partition("=")
        for first in (True, False):
            rows = table([Path(run) for run in runs.split(",")], first=first)
            said = f"### `{name}`, {'at first exposure' if first else 'rehearsed'}"
            sys.stdout.write("\n".join([said, "", *rows, "", ""]))
