"""`trials.json` of a report: sizes of the arms and what tuning chose, and where each trial comes from."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from lifelong.experiments.runs.errors import UserError, error_text
from lifelong.schema import SchemaError, read_fields, shown

__all__ = ["ArmSizes", "TrialFacts", "read_trials"]


class ArmSizes(TypedDict):
    """Sizes and settings of an arm."""

    state_bytes: int
    parameters: int
    memory_flops: int
    agent_flops: int
    steps: int
    memory: str
    memory_options: list[str]
    expansion: float
    tuned: dict[str, str]


class TrialFacts(TypedDict):
    """Where a trial comes from; seconds are of training."""

    arm: str
    seed: int
    code: str
    seconds: float
    steps: NotRequired[int]
    tests_seconds: NotRequired[float]
    git: NotRequired[str | None]
    measured: NotRequired[str | None]
    run: NotRequired[str | None]
    device: NotRequired[str | None]
    machine: NotRequired[str | None]
    threads: NotRequired[int | None]
    versions: NotRequired[dict[str, str] | None]


def read_trials(path: Path, arms: Collection[str]) -> tuple[dict[str, ArmSizes], list[TrialFacts]]:
    """Read the sizes of the arms, and the facts of the trials.

    Args:
        path: of `trials.json`.
        arms: of the study.

    Raises:
        UserError: if it cannot be read, lacks something, or is of other arms; names the entry.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error_text(error)}") from error
    if not isinstance(content, dict) or content.keys() != {"arms", "trials"}:
        raise UserError(f"{path} is of no report of a study: it must have `arms` and `trials`, got {shown(content)}")
    if not isinstance(content["arms"], dict) or not isinstance(content["trials"], list):
        raise UserError(f"{path} is of no report of a study: `arms` must be a table, and `trials` a list")
    if content["arms"].keys() != set(arms):
        raise UserError(f"{path} is of arms {', '.join(content['arms']) or '(none)'}; the study has {', '.join(arms)}")
    sizes = {arm: cast(ArmSizes, _read(ArmSizes, table, path, f"arm {arm}")) for arm, table in content["arms"].items()}
    facts = [
        cast(TrialFacts, _read(TrialFacts, table, path, f"trial {n + 1}")) for n, table in enumerate(content["trials"])
    ]
    for n, trial in enumerate(facts):
        if trial["arm"] not in sizes:
            raise UserError(f"{path}, trial {n + 1}: no arm {shown(trial['arm'])}; the study has {', '.join(arms)}")
    return sizes, facts


def _read(kind: Any, table: Any, path: Path, where: str) -> dict[str, Any]:
    try:
        return read_fields(kind, table)
    except SchemaError as error:
        raise UserError(f"{path}, {where}: {error}") from error
