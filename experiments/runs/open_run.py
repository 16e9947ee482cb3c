"""Open a run: its settings, as they were or changed, without torch."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

from lifelong.envs.stream_file import is_stream_file, read_stream_file
from lifelong.experiments.runs.config import FORMAT, TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.replacing import finish_replacing
from lifelong.experiments.runs.trusted import check_trusted
from lifelong.schema import SchemaError, Within, read_fields
from lifelong.tables import TableError, clipped, parse_json, read_file
from lifelong.trust import Trust

__all__ = ["LAST", "on_device", "open_run", "open_run_as", "read_config"]

LAST = Path("checkpoints", "last")
"""Of a run's folder: its last checkpoint."""


class _Origin(TypedDict, total=False):
    versions: dict[str, str | None]
    git: str | None
    code: str | None
    plug_ins: dict[str, dict[str, str | None]]
    command: list[str]
    device: str | None
    threads: int | None
    machine: str | None


class _Forked(TypedDict):
    run: str
    step: Annotated[int, Within(0)]
    slots: list[Annotated[int, Within(0)]]


class _Swapped(TypedDict):
    run: str
    step: Annotated[int, Within(0)]
    memory: str


class _Config(TypedDict, total=False):
    format: Required[Annotated[int, Within(1)]]
    config: Required[dict[str, Any]]
    origin: dict[str, Any] | None
    changes: list[dict[str, Any]]
    forked: _Forked
    swapped: _Swapped
    learning_rate: list[tuple[Annotated[int, Within(0)], Annotated[float, Within(0.0, 1.0)], Annotated[int, Within(0)]]]


_ALWAYS = ("stream", "memory", "seed")
"""Settings that every version has written."""

_SEALED = 3  # format from which on cued-recall and colour-rule are sealed


def open_run(folder: Path, trust: Trust = False) -> TrainConfig:
    """Return the config of a run.

    Args:
        folder: of the run.
        trust: whether it may name memories and environments that are neither registered nor of installed packages, or
            those that it may.

    Raises:
        UserError: if there is none, a newer version wrote it, or it names such and is not trusted.
    """
    path = folder / "config.json"
    finish_replacing(folder)
    content = read_config(folder)
    try:
        found = content["format"]
        if found <= FORMAT:
            config = replace(TrainConfig.from_json(content["config"]), trust=trust is True)
            if missing := [name for name in _ALWAYS if name not in content["config"]]:
                raise UserError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
            if is_stream_file(config.stream):
                config = replace(config, stream=str(folder / f"stream{Path(config.stream).suffix}"))
            check_trusted(config, path, trust)
            return config if found >= _SEALED else _unsealed(config)
    except UserError as error:
        said = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path}: {clipped(said)}") from error
    raise UserError(f"{path} has format {found}, this version reads up to {FORMAT}: upgrade lifelong-rl")


def read_config(folder: Path) -> dict[str, Any]:
    """Return what `config.json` of a run holds, its settings among it as they are.

    Raises:
        UserError: if there is none, or it is none of a run.
    """
    path = folder / "config.json"
    try:
        data = read_file(path)
    except TableError as error:
        raise UserError(f"{folder} is no run: {error}") from error
    try:
        content = read_fields(_Config, parse_json(data))
        origin = content.get("origin") or {}
        read_fields(_Origin, {name: origin[name] for name in origin if name in _Origin.__annotations__})
        return content
    except (TableError, SchemaError) as error:
        raise UserError(f"{path} is no config of a run: {path.name} {error}") from error


def on_device(config: TrainConfig, device: str | None) -> TrainConfig:
    """Return the config of a run that computes elsewhere; None leaves it as it is.

    Args:
        config: of the run.
        device: in place of its own.
    """
    if device is None:
        return config
    graph = config.cuda_graph if device.partition(":")[0] == "cuda" else "auto"
    return replace(config, device=device, cuda_graph=graph)


def open_run_as(
    folder: Path,
    schedule: str | None,
    stream_options: tuple[str, ...],
    device: str | None = None,
    *,
    trust: bool = False,
) -> tuple[TrainConfig, str | None]:
    """Return the resolved config of a run with another schedule and more stream settings, and what is new.

    Args:
        folder: of the run.
        schedule: in place of training's; None keeps it.
        stream_options: settings of the stream that come after training's.
        device: where the agent computes; None is as in training.
        trust: as of `open_run`.

    Returns:
        The config, and the schedule; None where it is that of training.

    Raises:
        UserError: as `open_run`.
    """
    trained = on_device(open_run(folder, trust).resolved(), device)
    other = None if schedule == trained.schedule else schedule
    options = (*trained.stream_options, *stream_options)
    return replace(trained, schedule=other or trained.schedule, stream_options=options), other


def _unsealed(config: TrainConfig) -> TrainConfig:
    """Return the config of a run from before streams were sealed, such that its stream is made unsealed.

    Raises:
        UserError: if it is of a stream that can no longer be made so.
    """
    stream = (
        read_stream_file(config.stream, trust=config.trust).stream if is_stream_file(config.stream) else config.stream
    )
    if stream.replace("_", "-") == "colour-rule":
        raise UserError(
            "the run is of colour-rule before it was sealed: its agent knows no step that shows the outcome, so it "
            "cannot act in colour-rule as it is now; train another"
        )
    if stream.replace("_", "-") == "cued-recall":
        return replace(config, stream_options=(*config.stream_options, "sealed=false"))
    return config
