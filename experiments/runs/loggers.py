"""Loggers of a run: where its scalars, retention curves and figures go, as `--log tensorboard,csv` names them."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lifelong.envs.extras import install_line
from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.registry import Entry, find, load, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LOGGERS", "Logger", "Loggers", "check_loggers", "logger_names"]

LOGGERS = table(
    "lifelong.experiments.runs",
    {
        "tensorboard": Entry("tensorboard:RunWriter", "event files in the run's folder"),
        "csv": Entry("csv_logger:CsvLogger", "scalars.csv in the run's folder: tag, step, value"),
        "wandb": Entry("wandb_logger:WandbLogger", "Weights & Biases; offline with WANDB_MODE=offline", extra="wandb"),
    },
)


class Logger(Protocol):
    """What a logger does; see `RunWriter`, the one of TensorBoard.

    It is made with the run's folder, its config as JSON (None if a run goes on), and as `purge_step` the environment
    steps of the checkpoint from which a run goes on: what was logged from there on is dropped.
    """

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...  # noqa: D102
    def retention(self, curve: RetentionCurve, step: int | None) -> None: ...  # noqa: D102
    def figure(self, tag: str, figure: "Figure", step: int) -> None: ...  # noqa: D102
    def finish(self, values: Mapping[str, float], step: int) -> None: ...  # noqa: D102
    def flush(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


def logger_names(text: str) -> list[str]:
    """Return the names in a list with commas between.

    Raises:
        UserError: if one is unknown, comes twice, or there is none.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        with as_user_error():
            find("logger", name, LOGGERS)
        if names.count(name) > 1:
            raise UserError(f"log names each logger once: log={text}")
    return names


def check_loggers(text: str) -> None:
    """Validate that what the named loggers need is installed.

    Raises:
        UserError: if it is not; says how to install it.
    """
    for name in logger_names(text):
        if extra := LOGGERS[name].extra:
            try:
                importlib.import_module(extra)
            except ImportError as error:
                raise UserError(
                    f"logger {name!r} needs {extra}, which is not installed: {install_line(extra)}"
                ) from error


class Loggers:
    """Passes each call on to all loggers of a run.

    Args:
        text: their names, with commas between.
        folder: of the run.
        config: what the run is made of, nested as JSON is.
        purge_step: environment steps of the checkpoint from which the run goes on; None for a new run.
    """

    def __init__(self, text: str, folder: Path, config: Mapping[str, Any], purge_step: int | None = None) -> None:
        described = config if purge_step is None else None
        self._loggers: list[Logger] = [
            load("logger", LOGGERS[name].target)(folder, described, purge_step=purge_step)
            for name in logger_names(text)
        ]

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers by tag; NaN is left out."""
        for logger in self._loggers:
            logger.scalars(values, step)

    def retention(self, curve: RetentionCurve, step: int | None) -> None:
        """Write a retention curve."""
        for logger in self._loggers:
            logger.retention(curve, step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Write a figure of matplotlib's."""
        for logger in self._loggers:
            logger.figure(tag, figure, step)

    def finish(self, values: Mapping[str, float], step: int) -> None:
        """Write the final metrics of a run, and that it is finished."""
        for logger in self._loggers:
            logger.finish(values, step)

    def flush(self) -> None:
        """Flush all."""
        for logger in self._loggers:
            logger.flush()

    def close(self) -> None:
        """Flush and end all."""
        for logger in self._loggers:
            logger.close()
