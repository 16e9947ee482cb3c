"""Film of a life: the env's picture, or the observation as bars, beside the memory's norm and write strength."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.runs.moments import Moment
from lifelong.experiments.runs.tensorboard import COLOURS

__all__ = ["DPI", "Film", "draw_observation"]

DPI = 80
_SHOWN = 120  # steps in the running plots


class Film:
    """A figure that shows one moment after another.

    Args:
        first: the first of them.
        title: above it.
    """

    def __init__(self, first: Moment, title: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(9.0, 4.5), dpi=DPI)
        self.canvas: Any = FigureCanvasAgg(self.figure)
        self.figure.suptitle(title, fontsize=11)
        self._scene = self.figure.add_axes((0.05, 0.16, 0.39, 0.76))
        self._caption = self.figure.text(0.245, 0.02, "", ha="center", fontsize=10, linespacing=1.5)
        self._image: Any = None
        below = self.figure.add_axes((0.55, 0.14, 0.43, 0.35))
        above = self.figure.add_axes((0.55, 0.57, 0.43, 0.35), sharex=below)
        above.tick_params(labelbottom=False)
        self._past: deque[Moment] = deque(maxlen=_SHOWN)
        self._step = 0
        self._plots = []
        for axes, label in ((above, "write |ΔS| / |S|"), (below, "norm |S|")):
            axes.set_ylabel(label)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            self._plots.append((axes, [axes.plot([], [], color=COLOURS[i % len(COLOURS)], linewidth=1.4, label=name)[0]
                                       for i, name in enumerate(first.norm)]))  # fmt: skip
        below.set_xlabel("step of the life")
        if len(first.norm) > 1:
            above.legend(loc="upper right", fontsize=8, frameon=False)
        if not first.norm:
            above.text(0.5, 0.5, "this memory has no state", transform=above.transAxes, ha="center", fontsize=10)
        for axes, _ in self._plots:
            axes.yaxis.set_label_coords(-0.12, 0.5)
        self._ends: list[Any] = []

    def show(self, moment: Moment) -> None:
        """Draw the next moment."""
        if not moment.ended:
            self._past.append(moment)
            self._step += 1
        self._draw_scene(moment)
        self._draw_memory()
        lag = "first meeting" if moment.lag < 0 else f"lag {moment.lag:,} episode{'s' if moment.lag > 1 else ''}"
        done = "  · end" if moment.ended else ""
        self._caption.set_text(
            f"{moment.task}  · episode {moment.episode:,}  · {lag}\nreturn {moment.gained:.3g}"
            f"{'' if moment.action is None else f'  · action {_short(moment.action)}'}{done}\n{_read_from(moment)}"
        )

    def pixels(self) -> NDArray[np.uint8]:
        """Return [height, width, 4] the figure as it is."""
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())

    def _draw_scene(self, moment: Moment) -> None:
        if moment.picture is None:
            self._scene.clear()
            self._image = None
            draw_observation(self._scene, moment.observation)
        elif self._image is None or self._image.get_array().shape != moment.picture.shape:
            self._scene.clear()
            self._scene.set_axis_off()
            self._image = self._scene.imshow(moment.picture)
        else:
            self._image.set_data(moment.picture)

    def _draw_memory(self) -> None:
        steps = list(range(self._step - len(self._past), self._step))
        for mark in self._ends:
            mark.remove()
        begun = [step for step, now in zip(steps, self._past, strict=True) if self._begins(step, now, steps[0])]
        self._ends = [axes.axvline(step, color="0.8", linewidth=0.8, zorder=0)
                      for axes, _ in self._plots for step in begun]  # fmt: skip
        for (axes, lines), kind in zip(self._plots, ("write", "norm"), strict=True):
            top = 0.0
            for line in lines:
                values = [getattr(now, kind)[line.get_label()] for now in self._past]
                line.set_data(steps, values)
                top = max(top, *values)
            axes.set_xlim(max(self._step - _SHOWN, 0), max(self._step, _SHOWN))
            axes.set_ylim(0, 1.1 * top or 1.0)

    def _begins(self, step: int, now: Moment, first: int) -> bool:
        """Return whether an episode began with a moment that is shown."""
        return step > first and self._past[step - first - 1].episode != now.episode


def draw_observation(axes: Any, observation: Any) -> None:
    """Draw an observation without a picture: vectors as bars, whole and single numbers as text.

    Args:
        axes: to draw in.
        observation: of one life, nested as its space is.
    """
    leaves = dict(_leaves(observation))
    numbers = {name: x.reshape(-1) for name, x in leaves.items() if np.issubdtype(x.dtype, np.floating) and x.size > 1}
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    at = 0
    for number, (name, x) in enumerate(numbers.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.bar(np.arange(at, at + x.size), x, color=colour, label=name or "observation")
        at += x.size + 1
    high = max((float(np.abs(x).max()) for x in numbers.values() if x.size), default=0.0)
    axes.set_ylim(-1.4 * max(high, 1.0), 1.4 * max(high, 1.0))
    axes.set_xticks([])
    axes.tick_params(axis="y", labelsize=7)
    if numbers:
        axes.legend(loc="upper right", fontsize=8, frameon=False)
    words = [f"{name or 'observation'}: {_short(x)}" for name, x in leaves.items() if name not in numbers]
    axes.text(0.02, 0.98, "\n".join(words), transform=axes.transAxes, va="top", fontsize=9, family="monospace")


def _leaves(observation: Any, name: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(observation, dict):
        for key, inner in observation.items():
            yield from _leaves(inner, f"{name}/{key}" if name else str(key))
    else:
        yield name, np.asarray(observation)


def _read_from(moment: Moment) -> str:
    """Return which earlier steps wrote what is read now, with their shares."""
    steps = [f"{source.step:,} ({100 * source.share:.0f} %)" for source in moment.sources]
    return f"reads from step {', '.join(steps)}" if steps else ""


def _short(value: Any) -> str:
    """Return numbers in few characters, a grid line by line."""
    with np.printoptions(precision=2, suppress=True, linewidth=48, threshold=64, edgeitems=4):
        return str(np.squeeze(np.asarray(value)))
