"""Reports of `lifelong recall`: tables, pictures, and curves for TensorBoard, from the shares recalled.

A memory's area is the mean of its recall over all numbers of pairs and all lengths. Intervals are 95 %, of Student's t
over seeds; two memories differ if the interval of their difference (Welch's) excludes 0. A seed took off if it recalls
at least half of the fewest pairs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lifelong.experiments.runs.tensorboard import COLOURS, STYLES

__all__ = ["QUESTIONS", "Line", "difference", "half_interval", "write_report"]

Floats = NDArray[np.float64]

QUESTIONS = (
    ("palimpsa", "not_palimpsa"),
    ("palimpsa_scalar", "not_palimpsa"),
    ("meta_mamba2", "mamba2"),
    ("kalman_delta", "gated_delta"),
    ("kalman_delta", "mesa"),
    ("kalman_delta", "palimpsa"),
)
"""Pairs of memories whose difference is reported."""

_HALF = 0.5
_NOTES = {"based": " (no window)"}  # what a published model of this name has beside it


@dataclass(frozen=True)
class Line:
    """Results of one memory on one task.

    Args:
        task: name of the task.
        memory: name of the memory.
        lr: its learning rate.
        at_edge: whether that is the smallest or largest tried, so that a better one may lie outside.
        state_bytes: of one layer.
        parameters: of the backbone.
        recall: of every seed, the share recalled by length (as a multiple of training's) and pairs.
        options: of the memory.
        batches: of every seed's training.
    """

    task: str
    memory: str
    lr: float
    at_edge: bool
    state_bytes: int
    parameters: int
    recall: Sequence[dict[str, dict[str, float]]]
    options: Mapping[str, Any] = field(default_factory=dict)
    batches: Sequence[int] = ()

    def at(self, times: str, pairs: str) -> Floats:
        """Return the recall of every seed, at a length and a number of pairs."""
        return np.array([seed[times][pairs] for seed in self.recall])

    @property
    def took_off(self) -> int:
        """How many seeds recall at least half of the fewest pairs at the shortest length."""
        return sum(next(iter(next(iter(seed.values())).values())) >= _HALF for seed in self.recall)

    @property
    def label(self) -> str:
        """Name in tables."""
        return f"`{self.memory}`{_NOTES.get(self.memory, '')}"

    @property
    def area(self) -> Floats:
        """Mean recall of every seed."""
        means = [np.mean([list(by_pairs.values()) for by_pairs in seed.values()]) for seed in self.recall]
        return np.array(means, np.float64)


def half_interval(values: Floats) -> float:
    """Return half the width of the 95 % interval of the mean; NaN of a single value."""
    if values.size < 2:
        return float("nan")
    return float(special.stdtrit(values.size - 1, 0.975) * values.std(ddof=1) / values.size**0.5)


def difference(a: Floats, b: Floats) -> tuple[float, float]:
    """Return the difference of means and half the width of its 95 % interval, by Welch; NaN from single values."""
    mean = float(a.mean() - b.mean())
    if min(a.size, b.size) < 2:
        return mean, float("nan")
    u, v = (float(x.var(ddof=1)) / x.size for x in (a, b))
    if u + v == 0.0:
        return mean, 0.0
    freedom = (u + v) ** 2 / (u**2 / (a.size - 1) + v**2 / (b.size - 1))
    return mean, float(special.stdtrit(freedom, 0.975) * (u + v) ** 0.5)


def write_report(lines: Sequence[Line], settings: str, folder: Path) -> str:
    """Write `table.md`, `areas.json`, `recall-<task>.png` and events for TensorBoard, and return the tables.

    Args:
        lines: of all tasks.
        settings: printed above the tables.
        folder: output folder.
    """
    tasks = list(dict.fromkeys(line.task for line in lines))
    parts = [settings + "; mean over seeds and half a 95 % interval\n"]
    for task in tasks:
        ranked = sorted((line for line in lines if line.task == task), key=lambda line: -line.area.mean())
        parts += [f"### {task}\n", _table(ranked), _seeds(ranked), _answers(ranked)]
        _plot(ranked, folder / f"recall-{task}.png")
        _events(ranked, folder)
    text = "\n".join(part for part in parts if part)
    (folder / "table.md").write_text(text, encoding="utf-8")
    areas = {task: {line.memory: line.area.mean() for line in lines if line.task == task} for task in tasks}
    (folder / "areas.json").write_text(json.dumps(areas, indent=1) + "\n", encoding="utf-8")
    return text


def _table(ranked: Sequence[Line]) -> str:
    times, pairs = list(ranked[0].recall[0]), list(next(iter(ranked[0].recall[0].values())))
    ends = list(dict.fromkeys([times[0], times[-1]]))
    heading = ["memory", "rate", "bytes", "parameters", "seeds"]
    heading += [f"{P} pairs, {k}x" for k in ends for P in pairs] + ["area", "not told apart from"]
    rows = [heading, ["---"] * len(heading)]
    for line in ranked:
        close = [
            other.memory for other in ranked if other is not line and not _apart(*difference(line.area, other.area))
        ]
        row = [line.label, f"{line.lr:g}{' (edge)' if line.at_edge else ''}", f"{line.state_bytes:,}"]
        row += [f"{line.parameters:,}", f"{len(line.recall)}"]
        row += [_mean(line.at(k, P)) for k in ends for P in pairs]
        rows.append([*row, f"**{_mean(line.area)}**", ", ".join(close) or "-"])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _seeds(ranked: Sequence[Line]) -> str:
    """Return a table of what seeds came to: a mean hides those that have not begun to learn."""
    rows = [["memory", "options", "batches", "took off", "area of each seed"], ["---"] * 5]
    for line in ranked:
        options = " ".join(f"{name}={value}" for name, value in line.options.items()) or "-"
        least, most = min(line.batches, default=0), max(line.batches, default=0)
        batches = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        areas = ", ".join(f"{area:.3f}" for area in sorted(line.area))
        rows.append([line.label, options, batches, f"{line.took_off} of {len(line.recall)}", areas])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _answers(ranked: Sequence[Line]) -> str:
    areas = {line.memory: line.area for line in ranked}
    lines = []
    for a, b in QUESTIONS:
        if a in areas and b in areas:
            mean, half = difference(areas[a], areas[b])
            summary = "not told apart" if not _apart(mean, half) else "better" if mean > 0 else "worse"
            lines.append(f"| `{a}` - `{b}` | {mean:+.3f} ± {half:.3f} | {summary} |\n")
    return "".join(["| area | difference | |\n| --- | --- | --- |\n", *lines]) if lines else ""


def _apart(mean: float, half: float) -> bool:
    return abs(mean) > half  # false if the interval is unknown


def _mean(values: Floats) -> str:
    half = half_interval(values)
    return f"{values.mean():.3f}" + ("" if np.isnan(half) else f" ± {half:.3f}")


def _plot(ranked: Sequence[Line], path: Path) -> None:
    from matplotlib.figure import Figure

    times, pairs = list(ranked[0].recall[0]), list(next(iter(ranked[0].recall[0].values())))
    figure = Figure(figsize=(10.0, 5.0), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, line in enumerate(ranked):
        look: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": STYLES[number // len(COLOURS) % len(STYLES)],
            "marker": "o",
            "markersize": 4,
        }
        label = f"{line.memory}  {line.area.mean():.2f}"
        _curve(left, [int(P) for P in pairs], [line.at(times[0], P) for P in pairs], label=label, **look)
        _curve(right, [int(k) for k in times], [line.at(k, pairs[-1]) for k in times], **look)
    for axes, ticks, label in (
        (left, pairs, f"pairs, {times[0]}x the length of training"),
        (right, times, f"length as a multiple of training's, {pairs[-1]} pairs"),
    ):
        axes.set_xscale("log", base=2)
        axes.set_xticks([int(tick) for tick in ticks], ticks)
        axes.minorticks_off()
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel(label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("recall")
    figure.legend(loc="outside right center", frameon=False, title="memory, area")
    figure.savefig(path)


def _curve(axes: Any, x: Iterable[int], seeds: Sequence[Floats], color: str, **look: Any) -> None:
    x, mean = list(x), np.array([values.mean() for values in seeds])
    half = np.nan_to_num([half_interval(values) for values in seeds])
    axes.plot(x, mean, color=color, linewidth=1.6, **look)
    axes.fill_between(x, mean - half, mean + half, color=color, alpha=0.12, linewidth=0)


def _events(ranked: Sequence[Line], folder: Path) -> None:
    """Write recall by length, a run for each memory, a chart for each number of pairs."""
    from torch.utils.tensorboard.writer import SummaryWriter

    for line in ranked:
        run = folder / "tensorboard" / line.memory.replace(":", "-")
        for old in run.glob(f"events.out.tfevents.*.{line.task}"):
            old.unlink()
        writer: Any = SummaryWriter(str(run), filename_suffix=f".{line.task}")
        for k in line.recall[0]:
            for P in line.recall[0][k]:
                writer.add_scalar(f"recall_{line.task}/pairs_{int(P):04}", line.at(k, P).mean(), int(k))
        writer.close()
