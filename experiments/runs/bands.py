"""Lines with intervals over labelled places, several charts side by side, as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lifelong.agents.durable import writing
from lifelong.experiments.runs.tensorboard import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Chart", "Line", "plot_bands"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line; NaN where there is no value.

    Args:
        mean: its values.
        low: lower ends of their intervals.
        high: upper ends.
    """

    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Args:
        across: what is along it.
        up: what is up it.
        places: labels of the places, at equal distances.
        lines: by name.
        levels: heights that are drawn across, by name.
    """

    across: str
    up: str
    places: Sequence[str]
    lines: Mapping[str, Line]
    levels: Mapping[str, float]


def plot_bands(charts: Sequence[Chart], path: Path | None = None, title: str = "") -> "Figure":
    """Draw charts of lines between 0 and 1, their intervals as bands.

    Args:
        charts: side by side.
        path: PNG file (or what its suffix says) to write; None for none.
        title: above them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(charts) + 1.0, 4.2), dpi=130, layout="constrained")
    for axes, chart in zip(np.atleast_1d(figure.subplots(1, len(charts))), charts, strict=True):
        for name, height in chart.levels.items():
            axes.axhline(height, color="0.6", linewidth=1.0, zorder=0)
            axes.annotate(name, (1.0, height), xycoords=("axes fraction", "data"), xytext=(-4, 3),
                          textcoords="offset points", ha="right", va="bottom", fontsize=8, color="0.45")  # fmt: skip
        place = np.arange(len(chart.places))
        for colour, (name, line) in zip(COLOURS, chart.lines.items(), strict=False):
            axes.plot(place, line.mean, marker="o", markersize=4, linewidth=1.8, color=colour, label=name)
            axes.fill_between(place, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
        axes.set_xticks(place, chart.places, rotation=45, ha="right")
        axes.set_ylim(-0.12, 1.12)
        axes.set_xlabel(chart.across)
        axes.set_ylabel(chart.up)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(chart.lines) > 1:
            axes.legend(frameon=False, fontsize=8)
    if title:
        figure.suptitle(title)
    if path is not None:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
    return figure
