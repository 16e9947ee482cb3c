"""Figures of reports and papers: retention over seeds, retention over load and lag, performance matrices.

Lines and text are vectors, fonts TrueType (no Type 3) and 8 points or larger; the same input gives the same bytes.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lifelong.agents.durable import writing
from lifelong.experiments.reports.groups import Agent
from lifelong.experiments.reports.measure import Curve
from lifelong.experiments.reports.seeds import FEW, over_seeds
from lifelong.experiments.runs.tensorboard import COLOURS, STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["HeatMap", "Panel", "curves_figure", "heat_maps_figure", "save_figure", "svg"]

_STYLE: Any = {
    "font.size": 9.0, "axes.titlesize": 9.0, "axes.labelsize": 9.0, "legend.fontsize": 8.5,
    "xtick.labelsize": 8.0, "ytick.labelsize": 8.0, "axes.linewidth": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlelocation": "left", "axes.grid": False, "legend.frameon": False,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "savefig.dpi": 300, "text.parse_math": False,
    "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "lifelong",
}  # fmt: skip
_NO_DATE: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}
_LETTERS = 12.5  # of a title in an inch
_MOST_NUMBERS = 20  # rows or columns of a heat map whose cells hold their numbers


@dataclass(frozen=True)
class Panel:
    """Retention of several agents by lag.

    Args:
        title: above it.
        agents: drawn in this order.
        curve: at first exposure, or rehearsed.
    """

    title: str
    agents: Sequence[Agent]
    curve: Curve


@dataclass(frozen=True)
class HeatMap:
    """Numbers by row and column.

    Args:
        title: above it.
        rows: labels, from the bottom.
        columns: labels.
        values: [rows, columns]; NaN is left blank.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: NDArray[np.float64]


def curves_figure(panels: Sequence[Panel], *, columns: int = 2, width: float = 7.2, of_lives: bool = False) -> "Figure":
    """Draw retention curves: means over seeds, with each seed as a point, or a band from ten seeds on.

    Args:
        panels: at least one.
        columns: of panels.
        width: of the figure in inches.
        of_lives: draw the interval over lives of a single run.
    """
    from matplotlib.figure import Figure

    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    names = list(dict.fromkeys(agent.name for panel in panels for agent in panel.agents))
    lines = math.ceil(len(names) / _legend_columns(names, width))
    with _styled():
        height = 0.2 * lines + rows * (2.7 if columns > 1 else 0.5 * width)
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw_curves(axes, panel, names, of_lives, int(_LETTERS * (width / columns - 0.6)))
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("retention")
            axes.set_ylim(*_limits(panels))
        for axes in grid[:, -1]:
            _name_ends(axes)
        handles = {
            name: line for axes in grid.flat for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=_legend_columns(names, width))
    return figure


def heat_maps_figure(maps: Sequence[HeatMap], xlabel: str, ylabel: str, width: float = 7.2) -> "Figure":
    """Draw heat maps side by side on one scale of colours, which holds 0 and 1.

    Args:
        maps: at least one.
        xlabel: below all.
        ylabel: beside all.
        width: of the figure in inches.
    """
    from matplotlib.figure import Figure

    columns = min(len(maps), 2 if max(len(one.columns) for one in maps) > 4 else 3)
    rows = math.ceil(len(maps) / columns)
    tallest = max(len(one.rows) for one in maps)
    known = np.concatenate([one.values[~np.isnan(one.values)] for one in maps])
    low, high = min(0.0, *known.tolist()), max(1.0, *known.tolist())
    with _styled():
        height = rows * (0.9 + max(0.24 * min(tallest, _MOST_NUMBERS), 1.3))
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        image = None
        for axes, one in zip(grid.flat, maps, strict=False):
            image = _draw_heat_map(axes, one, low, high)
        for axes in grid.flat[len(maps) :]:
            axes.set_visible(False)
        figure.supxlabel(xlabel, fontsize=9.0)
        figure.supylabel(ylabel, fontsize=9.0)
        if image is not None:
            figure.colorbar(image, ax=grid, shrink=0.8, aspect=25).outline.set_linewidth(0.6)
    return figure


def svg(figure: "Figure") -> bytes:
    """Return a figure as an SVG file."""
    buffer = io.BytesIO()
    with _styled():
        figure.savefig(buffer, format="svg", metadata=_NO_DATE[".svg"])
    return buffer.getvalue()


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure to a file with a suffix of `figure_formats.FORMATS`."""
    with _styled(), writing(path):
        figure.savefig(path, metadata=_NO_DATE[path.suffix.lower()])


@contextmanager
def _styled() -> Iterator[None]:
    """Draw in the style of a paper, and without a word about letters that the font lacks."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _legend_columns(names: Sequence[str], width: float) -> int:
    longest = max(map(len, names), default=1)
    return max(1, min(len(names), int(width / (0.45 + 0.075 * longest))))


def _draw_curves(axes: "Axes", panel: Panel, names: Sequence[str], of_lives: bool, letters: int) -> None:
    """Draw one panel; `letters` is how many fit in a line of its title."""
    for level in (0.0, 1.0):
        axes.axhline(level, color="0.6", linewidth=0.7, zorder=0)
    known: list[int] = []
    for agent in panel.agents:
        rho = _rho(agent, panel.curve)
        if np.isnan(rho).all():
            continue
        number = names.index(agent.name)
        style, colour = STYLES[number // len(COLOURS) % len(STYLES)], COLOURS[number % len(COLOURS)]
        look: Any = {"linestyle": style, "color": colour}
        each = [over_seeds(column.tolist(), 1.0) for column in rho.T]
        lag, mean = 2.0 ** np.arange(len(each)), [one.mean for one in each]
        if len(rho) == 1:
            axes.plot(lag, mean, linewidth=1.6, marker="o", markersize=3.5, label=agent.name, **look)
        else:
            axes.plot(lag, mean, linewidth=1.8, marker="_", markersize=8.0, label=agent.name, **look)
        if len(rho) >= FEW:
            axes.fill_between(lag, [one.low for one in each], [one.high for one in each], color=colour, alpha=0.2, lw=0)
        elif len(rho) > 1:
            axes.plot(lag, rho.T, linewidth=0.7, marker="o", markersize=2.5, markeredgewidth=0, alpha=0.5, **look)
        elif of_lives:
            curve = panel.curve.of(agent.seeds[0])
            axes.fill_between(lag, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0)
        known += np.flatnonzero(~np.isnan(rho).all(0)).tolist()
    axes.set_xscale("log", base=2)
    bins = range(min(known, default=0), max(known, default=0) + 1)
    ticks = [2**k for k in bins[:: 1 if len(bins) <= 8 else 2]]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlim(2.0 ** (bins[0] - 0.4), 2.0 ** (bins[-1] + 0.4))
    axes.minorticks_off()
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.set_xlabel("lag (episodes)")
    axes.set_title("\n".join(textwrap.wrap(panel.title, letters, break_on_hyphens=False)))


def _name_ends(axes: "Axes") -> None:
    """Write what 0 and 1 are, to the right of the axes."""
    for level, meaning in ((1.0, "nothing\nforgotten"), (0.0, "no\nmemory")):
        axes.annotate(meaning, (1.0, level), xycoords=("axes fraction", "data"), xytext=(4, 0),
                      textcoords="offset points", ha="left", va="center", fontsize=8.0, color="0.4")  # fmt: skip


def _rho(agent: Agent, curve: Curve) -> NDArray[np.float64]:
    """Return [seeds, bins] retention, NaN where a seed has none."""
    curves = [curve.of(one).rho for one in agent.seeds]
    rho = np.full((len(curves), max(map(len, curves))), np.nan)
    for seed, values in enumerate(curves):
        rho[seed, : len(values)] = values
    return rho


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return the ends of the axis of retention: 0, 1 and all seeds, but for outliers far beyond."""
    values = [-0.09, 1.09]
    for panel in panels:
        for agent in panel.agents:
            rho = _rho(agent, panel.curve)
            values += rho[~np.isnan(rho)].tolist()
    return max(min(values) - 0.03, -1.0), min(max(values) + 0.03, 2.0)


def _draw_heat_map(axes: "Axes", one: HeatMap, low: float, high: float) -> Any:
    rows, columns = one.values.shape
    axes.set_facecolor("0.93")
    image = axes.pcolormesh(np.ma.masked_invalid(one.values), cmap="viridis", vmin=low, vmax=high, edgecolors="w",
                            linewidth=0.8)  # fmt: skip
    every = max(1, math.ceil(rows / _MOST_NUMBERS))
    axes.set_yticks(np.arange(0, rows, every) + 0.5, list(one.rows[::every]))
    turned = sum(map(len, one.columns)) > 26
    axes.set_xticks(np.arange(columns) + 0.5, list(one.columns), rotation=35 if turned else 0,
                    ha="right" if turned else "center", rotation_mode="anchor" if turned else "default")  # fmt: skip
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(one.title)
    if max(rows, columns) <= _MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(one.values):
            if not math.isnan(value):
                colour = "w" if value < low + 0.6 * (high - low) else "k"
                axes.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8.0)
    return image
