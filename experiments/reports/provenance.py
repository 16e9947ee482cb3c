"""Where results come from: configuration, cost, code, versions, commands, paths."""

import os
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from lifelong.envs import TaskStream
from lifelong.experiments.reports.document import Block, Code, Heading, Table
from lifelong.experiments.reports.groups import Stream
from lifelong.experiments.reports.run import Run
from lifelong.experiments.reports.seeds import over_seeds
from lifelong.experiments.runs.build import make_agent, one_memory
from lifelong.experiments.runs.code_version import changed_since, git_hash
from lifelong.experiments.runs.errors import known_errors

__all__ = ["code_notes", "configuration", "cost_table", "provenance_blocks"]

_ELSEWHERE = ("name", "seed", "runs", "overwrite", "resume", "ppo")  # not of the configuration, or told apart


def configuration(stream: Stream) -> list[Block]:
    """Return the settings that all runs of a stream share, and those in which they differ."""
    settings = {run.folder: _flat(run) for run in stream.runs}
    values = list(settings.values())
    names = list(dict.fromkeys(name for found in values for name in found))
    shared = [name for name in names if len({found.get(name) for found in values}) == 1]
    blocks: list[Block] = [
        Table(
            ("setting", "value"),
            tuple((name, values[0].get(name, "-")) for name in shared),
            "Settings of all runs, as resolved before training.",
            text_columns=2,
            fold=3,
        )
    ]
    if differ := [name for name in names if name not in shared]:
        by_agent: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for run in stream.runs:
            for name in differ:
                by_agent[stream.names[run.folder]][name].append(settings[run.folder].get(name, "-"))
        lines = tuple(
            (agent, *(" / ".join(dict.fromkeys(found[name])) for name in differ))
            for agent, found in sorted(by_agent.items())
        )
        blocks.append(Table(("agent", *differ), lines, "Settings in which runs differ.", text_columns=1 + len(differ)))
    return blocks


def cost_table(stream: Stream) -> Table:
    """Return what each agent costs: steps, seconds, bytes of state, operations of a step, parameters."""
    by_agent: dict[str, list[Run]] = defaultdict(list)
    for run in stream.runs:
        by_agent[stream.names[run.folder]].append(run)
    lines = []
    for agent, runs in sorted(by_agent.items()):
        timed = [run for run in runs if run.facts]
        seconds = [run.facts["seconds"] for run in timed]
        speed = over_seeds([run.steps / max(run.facts["seconds"], 1e-9) for run in timed])
        evaluated = [run.facts.get("evaluation_steps", 0) / max(run.steps, 1) for run in timed]
        lines.append((
            agent,
            " / ".join(dict.fromkeys(f"{run.steps:,}" for run in timed)) or "-",
            " to ".join(dict.fromkeys(f"{end(seconds):,.0f}" for end in (min, max))) if timed else "-",
            f"{speed.mean:,.0f}" if timed else "-",
            f"{max(evaluated):.1%}" if any(evaluated) else "-",
            *_sizes(runs[0], stream.env),
        ))  # fmt: skip
    heading = ("agent", "steps lived", "seconds", "steps/s", "evaluation", "state, bytes per life",
               "FLOPs per step, memory", "parameters", "device")  # fmt: skip
    caption = (
        "Cost. Seconds of living and learning (not of evaluation), the least and the greatest of several seeds, on "
        "machines that may have been busy; evaluation: its steps for each step of training; FLOPs as the memories "
        "declare them."
    )
    return Table(heading, tuple(lines), caption)


def code_notes(runs: Sequence[Run]) -> list[str]:
    """Return what is to be said of the code: seeds by different code, or code that changed since."""
    by_code: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_code[_code(run)].append(run)
    notes = []
    if len(by_code) > 1:
        said = "; ".join(f"{code} ({len(found)} runs)" for code, found in by_code.items())
        notes.append(f"The runs were trained by {len(by_code)} versions of the code: {said}.")
    if old := [run for run in runs if changed_since(run.origin)]:
        notes.append(
            f"The code that trains agents changed since {len(old)} of {len(runs)} runs: they are reported as they are, "
            "not trained anew."
        )
    return notes


def provenance_blocks(runs: Sequence[Run], base: Path) -> list[Block]:
    """Return paths, commits, hashes, commands and versions of runs.

    Args:
        runs: in their order.
        base: folder that paths are relative to.
    """
    since = {True: "changed", False: "the same", None: "not known"}
    lines = tuple(
        (
            os.path.relpath(run.folder, base),
            f"{run.config.seed}",
            _code(run),
            since[changed_since(run.origin)],
            run.sha256,
        )
        for run in runs
    )
    heading = ("run", "seed", "trained by", "code since", "SHA-256 of config.json")
    here = (git_hash() or "no commit")[:12]
    caption = (
        "Runs, their paths relative to this report; the commit that trained them, the hash of the code in brackets. "
        f"Code since: whether that code changed until this report, which was made at {here}."
    )
    blocks: list[Block] = [Table(heading, lines, caption, text_columns=5)]
    if plug_ins := sorted({line for run in runs for line in _plug_ins(run)}):
        blocks.append(
            Table(("plug-in", "version", "SHA-256 of its file"), tuple(plug_ins), "Plug-ins.", text_columns=3)
        )
    blocks.append(Heading("Commands", 3))
    blocks.append(Code("\n".join(dict.fromkeys(map(_command, runs)))))
    blocks.append(_versions(runs))
    return blocks


def _versions(runs: Sequence[Run]) -> Table:
    by_versions: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for run in runs:
        found = run.origin.get("versions")
        versions = {**found} if isinstance(found, Mapping) else {}
        versions |= {name: run.origin.get(name, "not known") for name in ("device", "threads", "machine")}
        by_versions[tuple((name, str(value)) for name, value in versions.items())].append(run.name)
    names = list(dict.fromkeys(name for versions in by_versions for name, _ in versions))
    heading = ("", *(f"{len(runs)} runs" if len(by_versions) == 1 else runs[0] for runs in by_versions.values()))
    if len(by_versions) > 1:
        heading = ("", *(listed_runs(found) for found in by_versions.values()))
    lines = tuple((name, *(dict(versions).get(name, "-") for versions in by_versions)) for name in names)
    return Table(heading, lines, "Versions and machine.", text_columns=len(heading))


def listed_runs(names: Sequence[str]) -> str:
    """Return the first run's name, and how many others are like it."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _sizes(run: Run, env: TaskStream | None) -> tuple[str, str, str, str]:
    """Return bytes of state, operations of a step and parameters of a run's agent, and its device."""
    device = str(run.origin.get("device", run.config.device))
    if env is None:
        return "-", "-", "-", device
    try:
        with torch.random.fork_rng():  # `make_agent` seeds torch
            agent = make_agent(run.on_cpu, env)
    except known_errors():
        return "-", "-", "-", device
    parameters = sum(parameter.numel() for parameter in agent.parameters())
    memory = agent.backbone
    flops = len(memory.memories) * one_memory(run.on_cpu).step_flops
    return f"{memory.state_bytes:,}", f"{flops:,}", f"{parameters:,}", device


def _command(run: Run) -> str:
    words = run.origin.get("command")
    if not isinstance(words, list) or not words:
        return f"# {run.name}: the command is not known"
    program = Path(str(words[0])).name
    return shlex.join(["lifelong" if program in ("lifelong", "cli.py") else program or "python", *map(str, words[1:])])


def _code(run: Run) -> str:
    """Return which code trained a run: its commit and its own hash, as far as they are known."""
    commit, code = (str(run.origin.get(name) or "")[:12] for name in ("git", "code"))
    return f"{commit} ({code})" if commit and code else commit or code or "not known"


def _plug_ins(run: Run) -> Iterator[tuple[str, str, str]]:
    """Yield the memories that are not this package's: class, distribution with its version, hash of the file."""
    for name, found in (run.origin.get("plug_ins") or {}).items():
        version = f"{found.get('distribution')} {found.get('version')}" if found.get("distribution") else "not known"
        yield name, version, str(found.get("sha256") or "not known")


def _flat(run: Run) -> dict[str, str]:
    settings = {name: value for name, value in run.config.to_json().items() if name not in _ELSEWHERE}
    settings |= {f"ppo.{name}": value for name, value in run.config.to_json()["ppo"].items()}
    settings["stream"] = run.stream["stream"]
    return {
        name: " ".join(map(str, v)) or "-" if isinstance(v, list | tuple) else str(v) for name, v in settings.items()
    }
