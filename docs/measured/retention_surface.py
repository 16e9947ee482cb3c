"""Print the tables of retention-surface.md from runs that `lifelong retention` has measured.

    python docs/measured/retention_surface.py gated_delta=runs/gated0,runs/gated1 window=runs/window0,runs/window1
"""

import math
import sys
from pathlib import Path

import numpy as np

from lifelong.experiments.metrics.recall import recall_curve
from lifelong.experiments.metrics.rows import Rows, bin_label
from lifelong.experiments.runs.episodes import read_episodes

CUES = (16, 32, 64, 128, 256)
CHANCE = 0.25
REPORT = "frozen-4096-interleaved-gap-1-cues-{cues}-lives128"


def rows_of(run: Path, cues: int) -> Rows:
    """Return the rows of a run's report for a number of cues."""
    return read_episodes(run / "report" / REPORT.format(cues=cues), ["frozen"])


def text(values: list[float], digits: int = 2) -> str:
    """Return the values of the seeds, `-` where all are unknown."""
    return " ".join(f"{x:.{digits}f}" if math.isfinite(x) else "-" for x in values) if any(map(math.isfinite, values)) else "-"


def last_quarter(rows: Rows) -> float:
    """Return retention over all rows of the last quarter of each life, tasks met before."""
    late = (rows["episode"] >= 0.75 * rows["episode"].max()) & (rows["lag_episodes"] > 0)
    return float((rows["success"][late].mean() - CHANCE) / (1.0 - CHANCE))


def half_lives(curves: list) -> str:
    """Return the half-lives of the seeds, `>` the longest lag lived where none was found."""
    return ", ".join(
        f"{c.half_life.lag:.0f}" if math.isfinite(c.half_life.lag) else f"> {c.lived}" for c in curves
    )


def main(arguments: list[str]) -> None:
    """Print the tables."""
    for argument in arguments:
        name, _, runs = argument.partition("=")
        folders = [Path(run) for run in runs.split(",")]
        for kind in ("at first exposure", "rehearsed"):
            bins = range(1, 12)
            print(f"\n### `{name}`, {kind}\n")
            print("| cues | " + " | ".join(bin_label(b) for b in bins) + " | half-life | last quarter |")
            print("| --- " * (len(bins) + 3) + "|")
            for cues in CUES:
                seeds = [rows_of(folder, cues) for folder in folders]
                curves = [
                    recall_curve(rows, CHANCE, where=rows["meetings"] == 1 if kind == "at first exposure" else None)
                    for rows in seeds
                ]
                cells = [text([c.rho[b] if b < len(c.rho) else math.nan for c in curves]) for b in bins]
                print(f"| {cues} | " + " | ".join(cells) + f" | {half_lives(curves)} | {text([last_quarter(r) for r in seeds], 3)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
