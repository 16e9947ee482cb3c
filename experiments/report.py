"""Markdown tables of finished runs: retention by lag, pooled over seeds, with the worst seed beside it.

    lifelong report runs                       evaluations at the end of training
    lifelong report runs --report frozen-2048  evaluations of `lifelong retention`

Runs that differ only in their seed are one line; a cell is P(correct) of all seeds, of the worst seed,
and retention rho. Everything is computed from the episode rows.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from lifelong.agents import load_checkpoint
from lifelong.experiments.metrics.rows import Rows, join_runs
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.build import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import open_run
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.summary import Summary, summarise

__all__ = ["ReportConfig", "command", "main"]


@dataclass(frozen=True)
class ReportConfig:
    """Summarise finished runs as Markdown.

    Args:
        runs: folder of the runs.
        report: name of a report of `lifelong retention`; if not given, the evaluation at the end of training.
    """

    runs: tyro.conf.Positional[Path] = Path("runs")
    report: str | None = None


def command(arguments: list[str]) -> None:
    """Run the verb with words from the command line."""
    print(main(parse(ReportConfig, arguments, "report")))


def main(config: ReportConfig) -> str:
    """Return the tables.

    Raises:
        UserError: if there are no finished runs, or none has the report.
    """
    if not config.runs.is_dir():
        raise UserError(f"no folder {config.runs}")
    groups: dict[str, list[tuple[TrainConfig, Rows, float]]] = defaultdict(list)
    for path in sorted(config.runs.glob("*/config.json")):
        folder, trained = path.parent, open_run(path.parent)
        source = folder if config.report is None else folder / "report" / config.report
        if (source / "episodes").exists() and (folder / "checkpoints" / "last").exists():
            seconds = load_checkpoint(folder / "checkpoints" / "last")[1]["seconds"]
            rows = read_episodes(source, ["frozen"])
            groups[_line(trained)].append((trained, rows, seconds))
    if not groups:
        what = "finished run with an evaluation" if config.report is None else f"run with a report {config.report!r}"
        raise UserError(f"{config.runs} holds no {what}")
    tables: dict[str, list[tuple[str, Summary, list[Summary], list[float]]]] = defaultdict(list)
    for name, runs in groups.items():
        env = make_env(runs[0][0], num_envs=1)
        single = [summarise(rows, env) for _, rows, _ in runs]
        pooled = summarise(join_runs([rows for _, rows, _ in runs]), env)
        kind = pooled.curve.measure if pooled.curve.measured else "no curve"
        tables[kind].append((name, pooled, single, [seconds for *_, seconds in runs]))
    return "\n\n".join(_table(lines) for lines in tables.values())


def _line(config: TrainConfig) -> str:
    words = [config.stream, config.memory, *config.memory_options, *config.stream_options]
    words += [config.feedback] if config.feedback else []
    words += [f"carry={config.carry}"] if config.carry != "lifetime" else []
    return " ".join(words)


def _table(lines: list[tuple[str, Summary, list[Summary], list[float]]]) -> str:
    bins = max((pooled.curve.bins for _, pooled, *_ in lines), key=len, default=())
    names = ["agent", "seeds", *(f"lag {b}" for b in bins), "area (95 %)", "memory index (95 %)", "return", "seconds"]
    heading = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return "\n".join([*heading, *(_row(len(bins), *line) for line in lines)])


def _row(bins: int, name: str, pooled: Summary, single: list[Summary], seconds: list[float]) -> str:
    cells = [name, str(len(single))]
    if pooled.curve.measured:
        for k, score in enumerate(pooled.curve.score):
            curves = [summary.curve for summary in single if k < len(summary.curve.score)]
            worst = min((c.score[k] for c in curves if c.count[k] >= c.minimum), default=np.nan)
            rho = pooled.curve.rho[k]
            cells.append("-" if np.isnan(rho) else f"{score:.3f} (worst {worst:.3f}, rho {rho:.3f})")
        cells += ["-"] * (bins - len(pooled.curve.score))
        cells.append(f"{pooled.curve.area:.3f} ({pooled.curve.area_low:.3f} to {pooled.curve.area_high:.3f})")
    else:
        cells.append("-")
    worst = min(summary.index for summary in single)
    cells.append(f"{pooled.index:.3f} ({pooled.index_low:.3f} to {pooled.index_high:.3f}, worst {worst:.3f})")
    cells.append(f"{pooled.mean_return:.3f}")
    cells.append(f"{np.mean(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f})")
    return "| " + " | ".join(cells) + " |"
