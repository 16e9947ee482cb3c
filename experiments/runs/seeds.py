"""Several seeds of one configuration, trained one after another: which are there already, and what is left to do."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lifelong.envs.stream_file import is_stream_file
from lifelong.experiments.runs.code_version import changed_since
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import FROZEN, read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.facts import run_facts
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.trusted import foreign_names

__all__ = ["of_seed", "series_name", "state_of"]

_ELSEWHERE = ("runs", "name", "overwrite", "resume", "stream", "checkpoint_every", "keep", "processes", "env_workers")
"""Settings in which a run may differ from the asked one."""


def of_seed(config: TrainConfig, seed: int) -> TrainConfig:
    """Return the configuration of one seed; a name of the runs gets the seed behind it."""
    return replace(config, seed=seed, name=None if config.name is None else f"{config.name}-seed{seed}")


def series_name(config: TrainConfig) -> str:
    """Return what the names of the runs of several seeds have in common."""
    return of_seed(config, 0).run.name.removesuffix("-seed0")


def state_of(config: TrainConfig) -> Literal["new", "interrupted", "finished"]:
    """Return how far the run of a configuration is.

    Args:
        config: resolved, with its seed.

    Raises:
        UserError: if there is a run of that name with other settings, or one that other code trained.
    """
    folder = config.run
    if config.overwrite or not folder.exists() or not any(folder.iterdir()):
        return "new"
    found = open_run(folder, config.trust or foreign_names(config)).resolved()
    before, asked = found.to_json(), config.to_json()
    differ = [_difference(n, before[n], asked[n]) for n in asked if n not in _ELSEWHERE and before[n] != asked[n]]
    differ += _other_stream(config, found)
    if differ:
        raise UserError(
            f"run {folder} exists with other settings ({', '.join(differ)}): pass --overwrite, or another --name"
        )
    if changed_since(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("origin") or {}):
        raise UserError(
            f"run {folder} was trained by other code, and seeds of one agent need the same: pass --overwrite to train "
            "all seeds anew, or train those that are missing with --seed and see what `lifelong report` says of all"
        )
    return "finished" if _is_finished(found, folder) else "interrupted"


def _is_finished(config: TrainConfig, folder: Path) -> bool:
    try:
        steps = run_facts(folder)["steps"]
    except (OSError, ValueError):
        return False
    mode = FROZEN["greedy" if config.actions == "greedy" else "drawn"]  # with both, drawn ones are written last
    lived = bool(steps >= (config.steps or 0))
    if not lived or not config.evaluation_lives:
        return lived
    then = read_episodes(folder, [mode], ["train_step"])["train_step"]
    return bool(then.size and then.max() in (-1, steps))  # with more steps, the agent is evaluated anew


def _other_stream(asked: TrainConfig, found: TrainConfig) -> list[str]:
    """Return how the streams differ, in words: files by their content, others by name."""
    if is_stream_file(asked.stream) and is_stream_file(found.stream):
        same = Path(asked.stream).read_bytes() == Path(found.stream).read_bytes()
        return [] if same else [f"{found.stream} is another file than {asked.stream}"]
    return [] if asked.stream == found.stream else [_difference("stream", found.stream, asked.stream)]


def _difference(name: str, before: Any, asked: Any) -> str:
    if isinstance(before, dict) and isinstance(asked, dict):
        return ", ".join(_differences(before, asked))
    return f"{name}={before}, asked {asked}"


def _differences(before: dict[str, Any], asked: dict[str, Any]) -> Iterator[str]:
    for name, value in asked.items():
        if before.get(name) != value:
            yield f"{name}={before.get(name)}, asked {value}"
