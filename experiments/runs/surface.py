"""Retention over load and lag: of rows, and as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lifelong.agents.durable import writing
from lifelong.envs import TaskStream
from lifelong.experiments.metrics.practice_and_load import Surface, retention_surface
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.heat_map import heat_map
from lifelong.experiments.runs.summary import retention_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_surface", "surface_of"]


def surface_of(rows: Rows, env: TaskStream) -> Surface | None:
    """Return retention over load and lag, if both vary among the rows that have a value; else None.

    Args:
        rows: columns of `lifelong.envs.stream.ROW`.
        env: the stream they are of.
    """
    if env.retention is None or not rows or not (rows["load"] >= 0).any():
        return None
    surface = retention_surface(rows, lambda chosen: retention_of(rows, env, where=chosen))
    loads, lags = np.nonzero(~np.isnan(surface.rho))
    return surface if np.unique(loads).size > 1 and np.unique(lags).size > 1 else None


def plot_surface(surface: Surface, path: Path | None = None, title: str = "") -> "Figure":
    """Draw retention over load and lag as a heat map; cells without a value stay white.

    Args:
        surface: to draw.
        path: PNG file (or what its suffix says) to write; None for none.
        title: above the axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(2.5 + 0.7 * len(surface.lag), 1.8 + 0.4 * len(surface.load)), dpi=120, layout="constrained"
    )
    axes = figure.subplots()
    heat_map(axes, surface.rho, 0.0, 1.0, label="retention")
    axes.invert_yaxis()
    axes.set_xticks(range(len(surface.lag)), surface.lag, rotation=45, ha="right")
    axes.set_yticks(range(len(surface.load)), surface.load)
    axes.set_xlabel("lag: episodes since the task was last met")
    axes.set_ylabel("load: different tasks met since")
    axes.set_title(title)
    if path is not None:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
    return figure
