"""What a run's checkpoint holds beside tensors, and whether it is of the run's config as that is now."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

from lifelong.agents.checkpoint import CheckpointError, read_facts
from lifelong.envs.stream_file import is_stream_file
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.open_run import LAST, open_run
from lifelong.experiments.runs.sizes import CountOrZero
from lifelong.schema import SchemaError, Within, read_fields, shown

__all__ = ["check_facts", "config_facts", "run_facts"]

_MAY_DIFFER = {
    "runs", "name", "overwrite", "resume", "new_episodes", "steps", "device", "threads", "processes", "env_workers",
    "cuda_graph", "log", "on_log_error", "keep", "checkpoint_every", "preset", "evaluation_lives", "actions",
    "evaluate_every", "evaluate_mode", "evaluate_episodes", "trust",
}  # fmt: skip
"""Settings that change neither the agent nor its lives so far."""

_MOST, _WIDEST = 3, 20  # settings in a message, characters of a value


class _Reported(TypedDict):
    steps: CountOrZero
    rows: CountOrZero


class _Facts(TypedDict, total=False):
    steps: Required[CountOrZero]
    rows: Required[CountOrZero]
    seconds: Required[Annotated[float, Within(0)]]
    mean_length: Required[Annotated[float, Within(0)]]
    env_shapes: dict[str, list[CountOrZero]]
    world_shapes: dict[str, list[CountOrZero]]  # their name until 0.2
    config: dict[str, Any]
    stream_sha256: str
    last_empty_memory: CountOrZero
    reported: _Reported
    logged: dict[str, CountOrZero]
    no_curve: str
    env_kwargs: dict[str, Any]
    new_episodes: list[CountOrZero]
    refused: list[CountOrZero]  # updates in a row, and in all
    evaluated: CountOrZero
    evaluation_steps: CountOrZero
    evaluations_skipped: CountOrZero
    evaluated_task: Annotated[int, Within(-1)]
    longest_episode: CountOrZero
    learnt: dict[str, list[CountOrZero]]
    evaluation_rows: CountOrZero


def config_facts(config: TrainConfig) -> dict[str, Any]:
    """Return the facts of a checkpoint that tell which config it is of.

    Args:
        config: of the run, resolved.
    """
    facts: dict[str, Any] = {"config": json.loads(json.dumps(config.to_json()))}
    return facts | ({"stream_sha256": _sha256(config)} if is_stream_file(config.stream) else {})


def run_facts(folder: Path) -> dict[str, Any]:
    """Return the facts of a run's last checkpoint, without its tensors.

    Raises:
        CheckpointError: if there are none, or they are none of a run.
    """
    return _read(read_facts(folder / LAST), folder)


def check_facts(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Validate the facts of a run's checkpoint, and that its config is still the one that the checkpoint is of.

    Args:
        facts: of the checkpoint.
        folder: of the run.

    Raises:
        CheckpointError: if they are none of a run.
        UserError: if `config.json`, or the stream file beside it, was changed since; names the settings.
    """
    found = _read(facts, folder)
    if "config" not in found:  # of before they were kept
        return found
    config = open_run(folder, trust=True).resolved()  # nothing is imported by now that was not before
    differ = list(_differences(found["config"], json.loads(json.dumps(config.to_json()))))
    if is_stream_file(config.stream) and found.get("stream_sha256") not in (None, _sha256(config)):
        differ.append(f"{Path(config.stream).name} is another file")
    if differ:
        more = f" and {len(differ) - _MOST} more" if len(differ) > _MOST else ""
        raise UserError(
            f"{folder / 'config.json'} was changed after the checkpoint: {', '.join(differ[:_MOST])}{more}; put it "
            "back (--resume changes steps, device, threads, processes and env_workers; swap memory and lr)"
        )
    return found


def _read(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    try:
        found = read_fields(_Facts, facts, what="fact")
    except SchemaError as error:
        raise CheckpointError(f"the facts of the checkpoint of {folder} cannot be used: {error}") from error
    for name in found.get("logged", {}):
        if name != Path(name).name:
            raise CheckpointError(f"the facts of the checkpoint of {folder} name a file outside: {shown(name)}")
    for task in found.get("learnt", {}):
        if not task.isdecimal():
            raise CheckpointError(f"the facts of the checkpoint of {folder} name no task: {shown(task)}")
    if len(found.get("refused", (0, 0))) != 2:
        raise CheckpointError(f"the facts of the checkpoint of {folder} must tell two numbers of refused updates")
    if "env_shapes" not in found and "world_shapes" not in found:
        raise CheckpointError(f"the facts of the checkpoint of {folder} lack env_shapes")
    return found


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(now.keys() & was.keys() - _MAY_DIFFER):
        if name == "stream" and is_stream_file(str(was[name])) and is_stream_file(str(now[name])):
            continue
        if isinstance(was[name], Mapping) and isinstance(now[name], Mapping):
            yield from _differences(was[name], now[name])
        elif was[name] != now[name]:
            yield f"{name}={shown(now[name])[:_WIDEST]}, it was {shown(was[name])[:_WIDEST]}"


def _sha256(config: TrainConfig) -> str:
    try:
        return hashlib.sha256(Path(config.stream).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {config.stream}: {error.strerror}") from error
