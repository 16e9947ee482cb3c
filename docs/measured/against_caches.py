"""Print the tables of against-caches.md: each memory of the settling test beside the best cache of its bytes.

    python -P docs/measured/against_caches.py

Made from the rows of docs/results/horizon. The study predicted these differences for the delta rule alone; for the
others they are exploratory. Seeds are pairs; p is Student's, Holm-corrected over the table, as in `lifelong study
judge`.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from lifelong.experiments.metrics.aggregate import holm
from lifelong.experiments.metrics.paired import compare, verdict

ROWS = Path(__file__).parents[1] / "results/horizon/rows.parquet"
CACHES = ("window", "sink_window", "heavy_hitter")
MEMORIES = (
    "gated_delta", "delta_net", "kalman_delta", "mesa", "gla", "palimpsa", "not_palimpsa", "palimpsa_scalar",
    "log_linear",
)  # fmt: skip
LAGS = {"beyond the caches' reach, lags 32 and 64": (32, 64), "within it, lags 2 to 16": (2, 16)}
SMALLEST = 0.02
"""Effect of interest, as in the study's file."""


def kept(table: dict[str, np.ndarray], arm: str, first: int, last: int) -> np.ndarray:
    """Return [seeds] mean retention at first exposure under load, over the lags from first to last."""
    chosen = (table["arm"] == arm) & (table["test"] == "load") & (table["quantity"] == "rho1")
    chosen &= (table["first"] >= first) & (table["last"] <= last)
    seeds = np.unique(table["seed"][chosen])
    return np.array([table["value"][chosen & (table["seed"] == seed)].mean() for seed in seeds])


def lines() -> list[str]:
    """Return the lines of both tables."""
    table = {name: np.array(column) for name, column in pq.read_table(ROWS).to_pydict().items()}
    written = []
    for words, (first, last) in LAGS.items():
        caches = np.array([kept(table, arm, first, last) for arm in CACHES])
        best = CACHES[int(caches.mean(1).argmax())]
        found = [compare(kept(table, arm, first, last)[None], caches, 0.0, SMALLEST) for arm in MEMORIES]
        above, below = (holm(np.array([getattr(one, name) for one in found])) for name in ("p_above", "p_below"))
        written += [
            f"## {words[0].upper()}{words[1:]}",
            "",
            f"The best cache is `{best}` with {caches.mean(1).max():.2f}.",
            "",
        ]
        written += [
            "| memory | keeps | difference | 95 % interval | keeps more than every cache |",
            "| --- | --- | --- | --- | --- |",
        ]
        for arm, one, p, q in zip(MEMORIES, found, above, below, strict=True):
            level = kept(table, arm, first, last).mean()
            interval = f"{one.low:+.2f} to {one.high:+.2f}"
            written.append(f"| `{arm}` | {level:.2f} | {one.difference:+.2f} | {interval} | {verdict(p, q)} |")
        written.append("")
    return written


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()))
