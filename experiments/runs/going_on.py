"""What is said and written down when a run goes on: other versions, another device, more steps."""

import json
import platform
from pathlib import Path
from typing import Any

from rich.console import Console

from lifelong.experiments.runs.code_version import changed_since, package_version
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.learning_rate import LearningRate
from lifelong.experiments.runs.new_run import replace_file

__all__ = ["MAY_CHANGE", "go_on", "other_versions"]

_SAID = ("lifelong-rl", "torch", "numpy", "gymnasium")
MAY_CHANGE = {"device": "cpu", "threads": 1, "processes": 1, "env_workers": 0, "steps": None}
"""Settings with which a run may go on that it did not begin with, and what they are where a config is silent."""


def go_on(folder: Path, config: TrainConfig, steps: int, *, console: Console) -> LearningRate:
    """Write down in `config.json` what is new, say so, and return the schedule of the learning rate.

    Args:
        folder: of the run, locked.
        config: with which it goes on, resolved.
        steps: environment steps so far.
        console: for what is said.

    Raises:
        UserError: if it has more steps than it shall have.
    """
    path = folder / "config.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if steps and (sentence := other_versions(content.get("origin") or {})):
        said = f"{folder} was begun with {sentence}: it goes on, but not to the same bits"
        console.print(said, soft_wrap=True, markup=False, highlight=False)
    before, now = content["config"], config.to_json()
    was = MAY_CHANGE | {name: before[name] for name in MAY_CHANGE if before.get(name) is not None}
    changed = {name: (was[name], now[name]) for name in MAY_CHANGE if was[name] != now[name]}
    whole = int(before.get("steps") or config.steps or 0)
    learning_rate = LearningRate.of_run(folder, whole, config.final_lr_fraction)
    if not changed:
        return learning_rate
    if "steps" in changed:
        if (config.steps or 0) < steps:
            raise UserError(f"{folder} has {steps:,} steps, and cannot end after fewer: steps={config.steps}")
        learning_rate = learning_rate.until(config.steps or 0, steps)
        content |= learning_rate.entry()
        last, here = config.final_lr_fraction, learning_rate.pieces[-1].share
        falls = f"falls from {here:.3g} of what it was at first to {last:g}" if here > last else f"stays at {last:g}"
        console.print(f"the learning rate {falls} until {config.steps:,} steps", soft_wrap=True, highlight=False)
    told = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
    console.print(f"goes on with {told}", soft_wrap=True, markup=False, highlight=False)
    content["config"] = {**before, **{name: new for name, (_, new) in changed.items()}}
    if "device" in changed:
        content["config"]["cuda_graph"] = config.cuda_graph
    content.setdefault("changes", []).append({"step": steps, **{name: list(pair) for name, pair in changed.items()}})
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode())
    return learning_rate


def other_versions(origin: dict[str, Any]) -> str:
    """Return in words with which other versions a run was begun; empty if there are none.

    Args:
        origin: of the run.
    """
    then = origin.get("versions") or {}
    now = {name: package_version(name) for name in _SAID} | {"python": platform.python_version()}
    differ = [f"{name} {then[name]}, here is {now[name]}" for name in now if name in then and then[name] != now[name]]
    if changed_since(origin):
        differ.append("other code of lifelong-rl, or of a plug-in")
    return "; ".join(differ)
