"""Loggers of a run: where its scalars, retention curves and figures go, as `--log tensorboard,csv` names them."""

import importlib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lifelong.agents.durable import writing
from lifelong.envs.extras import install_line
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.registry import Entry, find, load, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lifelong.experiments.metrics.curve import RetentionCurve

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

    It is made with the run's folder, its config as JSON (None if a run goes on), and as `purge_step` one more than the
    environment steps of the checkpoint from which a run goes on: what was logged from there on is dropped. `files` are
    those it appends to, in the run's folder.
    """

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...  # noqa: D102
    def retention(self, curve: "RetentionCurve", step: int | None) -> None: ...  # noqa: D102
    def figure(self, tag: str, figure: "Figure", step: int) -> None: ...  # noqa: D102
    def finish(self, values: Mapping[str, float], step: int) -> None: ...  # noqa: D102
    def flush(self) -> None: ...  # noqa: D102
    def files(self) -> list[Path]: ...  # noqa: D102
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
        steps: environment steps of the checkpoint from which the run goes on; None for a new run.
        sizes: of the files at that checkpoint, as `sizes` said; what was written since is removed. None is not known:
            what is of later steps is dropped. Without any file all begins anew.
        reason: why there was no retention curve, as it was last written.
        waits: whether calls are kept until `open`, since the run does not have its folder yet.
        on_error: what a logger that fails does: it stops the training, or it is left out from there on, with a warning.

    Raises:
        WriteError: here and in all calls, if a logger cannot write, and that is to stop the training.
    """

    def __init__(
        self,
        text: str,
        folder: Path,
        config: Mapping[str, Any],
        steps: int | None = None,
        sizes: Mapping[str, int] | None = None,
        *,
        reason: str = "",
        waits: bool = False,
        on_error: Literal["stop", "continue"] = "stop",
    ) -> None:
        self.on_error, self._left = on_error, list[Path]()  # files of loggers that are left out
        self.reason = reason
        """Why there was no retention curve, as it was last written."""
        self._names, self._config, self._steps, self._before = logger_names(text), config, steps, sizes
        self._loggers: dict[str, Logger] = {}
        self._kept: list[tuple[str, tuple[Any, ...]]] = []
        self._waits, self._changed, self._sizes = waits, True, dict[str, int]()
        self._folder = folder
        if not waits:
            self.open(folder)

    def open(self, folder: Path) -> None:
        """Begin to write, with the calls that were kept.

        Args:
            folder: of the run.
        """
        self._folder, self._waits = folder, False
        if self._before is not None:
            _cut_back(folder, self._before)
        begun = self._steps is not None and self._before != {}
        described, purge = (None, (self._steps or 0) + 1) if begun else (self._config, None)
        try:
            for name in self._names:
                with self._kept_on(name):
                    self._loggers[name] = load("logger", LOGGERS[name].target)(folder, described, purge_step=purge)
        except BaseException:
            with suppress(Exception):
                self.close()
            raise
        for call, given in self._kept:
            self._tell(call, *given)
        self._kept = []

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers by tag; NaN is left out."""
        self._tell("scalars", values, step)

    def retention(self, curve: "RetentionCurve", step: int | None) -> None:
        """Write a retention curve; if there is none, why, once."""
        if not curve.measured:
            if curve.reason == self.reason:
                return
            self.reason = curve.reason
        self._tell("retention", curve, step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Write a figure of matplotlib's."""
        self._tell("figure", tag, figure, step)

    def finish(self, values: Mapping[str, float], step: int) -> None:
        """Write the final metrics of a run, and that it is finished."""
        self._tell("finish", values, step)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file so far, by its name in the run's folder, when all is written down."""
        if self._changed and not self._waits:
            self.flush()
            paths = {*self._left, *(path for logger in self._loggers.values() for path in logger.files())}
            with writing(self._folder):
                self._sizes = {path.name: path.stat().st_size for path in sorted(paths)}
            self._changed = False
        return self._sizes

    def sync(self) -> None:
        """Make what is written durable."""
        for name in self.sizes():
            with writing(self._folder / name), (self._folder / name).open("rb") as file:
                os.fsync(file.fileno())

    def flush(self) -> None:
        """Flush all."""
        self._call("flush")

    def close(self) -> None:
        """Flush and end all, each even if another cannot."""
        with ExitStack() as stack:
            for name, logger in self._loggers.items():
                stack.enter_context(self._kept_on(name))
                stack.callback(logger.close)

    def _call(self, call: str, *given: Any) -> None:
        for name, logger in list(self._loggers.items()):
            with self._kept_on(name):
                getattr(logger, call)(*given)

    @contextmanager
    def _kept_on(self, name: str) -> Iterator[None]:
        """Name the files of a logger that cannot write, and leave it out where training is to go on without it."""
        logger = self._loggers.get(name)
        try:
            with writing(self._files(logger)[-1] if self._files(logger) else self._folder):
                yield
        except Exception as error:
            if self.on_error == "stop":
                raise
            self._left += self._files(logger)
            if self._loggers.pop(name, None) is not None and logger is not None:
                with suppress(Exception):
                    logger.close()
            warnings.warn(f"training goes on without the logger {name}: {error}", RuntimeWarning, stacklevel=2)

    def _files(self, logger: Logger | None) -> list[Path]:
        return [] if logger is None else logger.files()

    def _tell(self, call: str, *given: Any) -> None:
        if self._waits:
            self._kept.append((call, given))
            return
        self._changed = True
        self._call(call, *given)


def _cut_back(folder: Path, sizes: Mapping[str, int]) -> None:
    """Remove what was written since a checkpoint: the ends of files, and files that were not there."""
    for name, size in sizes.items():
        path = folder / Path(name).name
        if path.is_file() and path.stat().st_size > size:
            os.truncate(path, size)
    for path in folder.glob("events.out.tfevents.*"):
        if path.name not in sizes:
            path.unlink()
