"""Measure the cost of each memory: bytes of state, operations and bytes of a step, time to act and to train.

    lifelong cost                                    every memory with its defaults
    lifelong cost --memories gated_delta palimpsa    some of them
    lifelong cost --recall runs/recall               at the sizes of these measurements, with pictures of recall
                                                     against bytes and against time

Operations are those the memory declares, beside a count in its reference form
(`lifelong.experiments.benchmarks.operation_count`). Times are medians of rounds in which all memories take turns.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from lifelong.agents.durable import writing
from lifelong.experiments.associative_recall.sizes import Sizes
from lifelong.experiments.associative_recall.trial import build
from lifelong.experiments.benchmarks.operation_count import Count, count_step
from lifelong.experiments.runs.device import check_device
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.experiments.runs.tensorboard import COLOURS
from lifelong.experiments.settings.cost import CostConfig
from lifelong.kernels.benchmark.clock import Call, Clock, CudaClock, in_turns
from lifelong.memory import MEMORIES, Memory, make_memory
from lifelong.memory.registry import foreign_memories
from lifelong.schema import read_value
from lifelong.tables import parse_json
from lifelong.trust import refusal

__all__ = ["Cost", "CostConfig", "command", "front", "main"]


class Measured(NamedTuple):
    """A memory at one size, with its recall.

    Args:
        name: of the memory.
        memory: of that size.
        recall: mean area over seeds by task; empty where not measured.
    """

    name: str
    memory: Memory
    recall: dict[str, float]


class Cost(NamedTuple):
    """Cost of a memory; see the columns of the table."""

    name: str
    state_bytes: int
    parameters: int
    declared: Count
    counted: Count
    step: float
    train: float
    recall: dict[str, float]


def command(config: CostConfig) -> None:
    """Run the verb."""
    sys.stdout.write(main(config))


def main(config: CostConfig) -> str:
    """Return the table as Markdown; write it, and pictures where recall is known, if there is an output directory.

    Args:
        config: settings.

    Raises:
        UserError: if a memory does not fit a size, or a folder of `--recall` has no measurements.
    """
    check_device(config.device)
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    subjects = [subject for folder in config.recall for subject in _of_recall(folder, config)]
    if not config.recall:
        names = config.memories or tuple(MEMORIES)
        with as_user_error():
            subjects = [Measured(name, make_memory(name, config.width), {}) for name in names]
    costs = _measure(subjects, config)
    table = _table(costs, config)
    folder = config.output or (config.recall[0] if config.recall else None)
    if folder is not None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            written = [folder / "cost.md"]
            written[0].write_text(table, encoding="utf-8")
            for task in dict.fromkeys(task for cost in costs for task in cost.recall):
                written.append(folder / f"cost-{task}.png")
                _plot([cost for cost in costs if task in cost.recall], task, written[-1])
        sys.stderr.writelines(f"wrote {path}\n" for path in written)
    return table


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the Pareto front of cost and recall.

    Args:
        points: cost and recall of each.

    Returns:
        Indices in ascending order of cost.
    """
    kept: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not kept or points[i][1] > points[kept[-1]][1]:
            kept.append(i)
    return kept


def _of_recall(folder: Path, config: CostConfig) -> list[Measured]:
    """Return the memories of a measurement at their sizes, with their mean area over seeds by task."""
    try:
        sizes = Sizes.from_json((folder / "config.json").read_text(encoding="utf-8"))
        text = (folder / "areas.json").read_text(encoding="utf-8")
        areas: dict[str, dict[str, float]] = read_value("areas.json", parse_json(text), dict[str, dict[str, float]])
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} has no finished measurement of lifelong recall: {error}") from error
    if not areas:
        raise UserError(f"{folder} has no finished measurement of lifelong recall: {folder / 'areas.json'} is empty")
    names = config.memories or tuple(dict.fromkeys(name for by_name in areas.values() for name in by_name))
    if unknown := [name for name in names if not any(name in by_name for by_name in areas.values())]:
        raise UserError(f"{folder} has not measured {unknown[0]!r}; it has {', '.join(next(iter(areas.values())))}")
    for name in () if config.memories or config.trust else names:
        for found in foreign_memories(name, {}):
            raise UserError(f"{folder / 'areas.json'}: {refusal('memory', found)}")
    options = {name: build(name, sizes)[1].options for name in names}
    return [
        Measured(
            name,
            make_memory(name, sizes.width, **options[name]),
            {task: by_name[name] for task, by_name in areas.items() if name in by_name},
        )
        for name in names
    ]


def _measure(subjects: Sequence[Measured], config: CostConfig) -> list[Cost]:
    counts = [(_declared(subject.memory), count_step(subject.memory)) for subject in subjects]
    clock = Clock() if config.device == "cpu" else CudaClock()
    calls: dict[str, Call] = {}
    for number, (_, memory, _) in enumerate(subjects):
        memory.to(config.device)
        calls[f"step {number}"] = _step(memory, config)
        calls[f"train {number}"] = _train(memory, config)
    times, errors = in_turns(calls, config.repeats, clock)
    if errors:
        name, error = next(iter(errors.items()))
        raise UserError(f"memory {subjects[int(name.split()[1])].name!r} does not run: {error}")
    return [
        Cost(
            name,
            memory.state_bytes,
            sum(p.numel() for p in memory.parameters()),
            *counts[number],
            median(times[f"step {number}"]),
            median(times[f"train {number}"]),
            recall,
        )
        for number, (name, memory, recall) in enumerate(subjects)
    ]


def _declared(memory: Memory) -> Count:
    """Return the declared operations of a step, and its bytes: state in and out, parameters in."""
    parameters = sum(p.numel() * p.element_size() for p in memory.parameters())
    return Count(memory.step_flops, 2 * memory.state_bytes + parameters)


def _step(memory: Memory, config: CostConfig) -> Call:
    x, state = torch.randn(config.lives, memory.width, device=config.device), memory.initial_state(config.lives)
    start = torch.zeros(config.lives, dtype=torch.bool, device=config.device)

    def step() -> None:
        nonlocal state
        with torch.no_grad():
            state = memory.step(x, state, start)[1]

    return step


def _train(memory: Memory, config: CostConfig) -> Call:
    x = torch.randn(config.batch, config.length, memory.width, device=config.device)
    state, start = memory.initial_state(config.batch), torch.zeros(x.shape[:2], dtype=torch.bool, device=config.device)

    def train() -> None:
        memory.zero_grad()
        memory(x, state, start)[0].square().mean().backward()

    return train


def _table(costs: Sequence[Cost], config: CostConfig) -> str:
    tasks = list(dict.fromkeys(task for cost in costs for task in cost.recall))
    heading = ["memory", "state bytes", "parameters", "step FLOP", "declared / counted", "step bytes"]
    heading += ["declared / counted", f"acting, {config.lives} lives, µs", "training step, µs", *tasks]
    rows = [heading, ["---"] * len(heading)]
    for cost in costs:
        counted = cost.counted
        rows.append([
            f"`{cost.name}`",
            f"{cost.state_bytes:,}",
            f"{cost.parameters:,}",
            f"{cost.declared.flops:,}",
            f"{cost.declared.flops / counted.flops:.2f}" if counted.flops else "-",
            f"{cost.declared.bytes:,}",
            f"{cost.declared.bytes / counted.bytes:.2f}" if counted.bytes else "-",
            f"{cost.step * 1e6:,.0f}",
            f"{cost.train * 1e6 / (config.batch * config.length):,.2f}",
            *(f"{cost.recall[task]:.3f}" if task in cost.recall else "-" for task in tasks),
        ])  # fmt: skip
    above = (
        "A step of one life: operations and bytes (state in and out, parameters in). "
        f"Acting: one step of {config.lives} lives. Training: forward and backward over {config.batch} sequences of "
        f"{config.length} steps, per step of one of them. "
        f"Medians of {config.repeats} rounds; {config.device}, threads={config.threads}"
    )
    return above + "\n\n" + "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _plot(costs: Sequence[Cost], task: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 5.0), dpi=150, layout="constrained")
    by: list[tuple[str, list[float]]] = [
        ("bytes of state per layer", [float(max(cost.state_bytes, 1)) for cost in costs]),
        ("acting: µs for a step of all lives", [cost.step * 1e6 for cost in costs]),
        ("training: ms for a batch", [cost.train * 1e3 for cost in costs]),
    ]
    names = list(dict.fromkeys(cost.name for cost in costs))
    recall = [cost.recall[task] for cost in costs]
    panels: Any = figure.subplots(1, 3, sharey=True)
    for axes, (label, spent) in zip(panels, by, strict=True):
        best = front(list(zip(spent, recall, strict=True)))
        axes.plot([spent[i] for i in best], [recall[i] for i in best], color="0.6", linewidth=1.0, zorder=0)
        for i, cost in enumerate(costs):
            colour = COLOURS[names.index(cost.name) % len(COLOURS)]
            axes.scatter(spent[i], recall[i], s=24, color=colour, edgecolors="black" if i in best else "none")
            axes.annotate(cost.name, (spent[i], recall[i]), xytext=(4, 3), textcoords="offset points", fontsize=6.5)
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"recall, area ({task})")
    figure.savefig(path)
