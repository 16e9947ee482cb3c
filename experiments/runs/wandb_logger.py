"""Weights & Biases logger: the scalars and figures of a run, over environment steps.

`WANDB_MODE=offline` writes to the run's folder and sends nothing; `WANDB_PROJECT` names the project, `lifelong` if it
does not. What a resumed run had logged after its checkpoint stays: Weights & Biases cannot take back what it has.
"""

import importlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from lifelong.agents.durable import writing
from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.runs.tensorboard import retention_scalars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["WandbLogger"]


class WandbLogger:
    """Logs to Weights & Biases; tags are those of TensorBoard, the x axis is `steps`.

    Args:
        folder: of the run; its name is that of the run there.
        config: what the run is made of, nested as JSON is; None for one that goes on.
        purge_step: not used but for its being there: None is a new run.
    """

    def __init__(
        self, folder: Path | str, config: Mapping[str, Any] | None = None, *, purge_step: int | None = None
    ) -> None:
        self._wandb: Any = importlib.import_module("wandb")
        name = Path(folder) / "wandb-id"
        if purge_step is None or not name.is_file():
            with writing(name):
                name.write_text(uuid4().hex[:8] + "\n", encoding="utf-8")
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "lifelong"),
            name=Path(folder).resolve().name,
            id=name.read_text(encoding="utf-8").strip(),
            resume="allow",
            dir=str(folder),
            config=None if config is None else dict(config),
            settings=self._wandb.Settings(console="off"),
        )
        self._run.define_metric("*", step_metric="steps")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by tag; NaN, "not known", is left out."""
        if known := {tag: value for tag, value in values.items() if not math.isnan(value)}:
            self._run.log(known | {"steps": step})

    def retention(self, curve: RetentionCurve, step: int | None) -> None:
        """Log the bins of a retention curve, its area and half-life; nothing where it has no value or no step."""
        if curve.measured and step is not None:
            self.scalars(retention_scalars(curve), step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Log a figure as an image."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        self._run.log({tag: self._wandb.Image(np.asarray(canvas.buffer_rgba())), "steps": step})

    def finish(self, values: Mapping[str, float], step: int) -> None:
        """Log the final metrics."""
        self.scalars(values, step)

    def files(self) -> list[Path]:
        """Return nothing: its files are its own."""
        return []

    def flush(self) -> None:
        """Do nothing: its own process writes as it goes."""

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
