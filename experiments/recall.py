"""Train memories of equal size on associative recall, and test them around capacity and beyond training length.

    lifelong recall                                        the usual memories, both tasks, about an hour on two cores
    lifelong recall --memories gated_delta kalman_delta --tasks rewrite
    lifelong recall --shapes 4 --until converged           the best of four shapes of each, trained until nothing rises
    lifelong recall --equal shape --key-dim 14             the same keys and values for all, whatever bytes that takes
    lifelong recall --preset published --device cuda       the sizes of the Palimpsa paper; for a GPU

Trains small backbones on associative recall (`associative_recall/sequences.py`), with several numbers of pairs at once,
all of equal size: an upper bound on bytes of state per layer, parameters as close as possible. At equal shape memories
have the same heads, keys and values instead, and those that have none of these the bytes. The learning rate of each
memory, and its shape among several of these bytes, is chosen with separate seeds; then it is trained with every seed
and tested with its state carried on, up to 64 times the length.

Finished runs are kept in OUTPUT/runs.jsonl: the same command resumes an interrupted one, and more memories or seeds add
only their own runs. Runs whose code or libraries have changed since are repeated, and the reason is printed. Then
OUTPUT/table.md, recall-<task>.png, and curves for TensorBoard are written.
"""

import itertools
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from lifelong.agents.backbone import Backbone
from lifelong.agents.durable import writing
from lifelong.experiments.associative_recall.provenance import changes, provenance
from lifelong.experiments.associative_recall.report import Line, write_report
from lifelong.experiments.associative_recall.sequences import Task
from lifelong.experiments.associative_recall.sizes import PRESETS, TUNING_SEED, Sizes
from lifelong.experiments.associative_recall.trial import Run, build, train
from lifelong.experiments.runs.device import check_device
from lifelong.experiments.runs.errors import UserError, error_text
from lifelong.experiments.settings.recall import RecallConfig
from lifelong.experiments.studies.plan import Shape, shapes_near, spread

__all__ = ["RecallConfig", "command", "main"]

Made = dict[tuple[str, str], dict[str, str]]
"""Provenance by memory and shape."""

_FULL = 0.9  # share of the bytes that a shape must use


def command(config: RecallConfig) -> None:
    """Run the verb."""
    main(config, Console(stderr=True))


def main(config: RecallConfig, console: Console | None = None) -> str:
    """Return the tables, and write them, pictures and events to `config.output`.

    Args:
        config: settings.
        console: for progress and tables; None for silence.

    Raises:
        UserError: if the settings do not fit each other, a memory does not fit the size, or the output directory has
            runs of other settings.
    """
    console, sizes = console or Console(quiet=True), config.sizes()
    check_device(config.device)
    rates = config.learning_rates or PRESETS[config.preset][1]
    memories = list(dict.fromkeys(name if ":" in name else name.replace("-", "_") for name in config.memories))
    found = _open(config.output, sizes)
    shapes = {name: _shapes(name, sizes) for name in memories}
    built = {(name, shape): build(name, sizes, shape) for name in memories for shape in shapes[name]}  # before training
    made = {
        (name, shape): provenance(name, backbone, size.options) for (name, shape), (backbone, size) in built.items()
    }
    _begin(config.output, sizes)
    finished = _still_valid(found, made, config.tasks, console)
    trainings: list[tuple[Task, str]] = list(itertools.product(config.tasks, memories))
    tuning = range(TUNING_SEED, TUNING_SEED + config.tuning_seeds)
    tried: dict[tuple[Task, str], dict[tuple[str, float], list[Run]]] = {
        (task, name): {
            (shape, lr): [Run(task, name, lr, seed, shape) for seed in tuning] for shape in shapes[name] for lr in rates
        }
        for task, name in trainings
    }
    tuned = [run for by_choice in tried.values() for runs in by_choice.values() for run in runs]
    _train_all(tuned, config, finished, made, console)
    best = {
        training: max(by_choice, key=lambda choice: sum(_score(finished[run]) for run in by_choice[choice]))
        for training, by_choice in tried.items()
    }
    chosen: dict[tuple[Task, str], list[Run]] = {}
    for task, name in trainings:
        shape, lr = best[task, name]
        chosen[task, name] = [Run(task, name, lr, seed, shape) for seed in range(config.seeds)]
    _train_all([run for runs in chosen.values() for run in runs], config, finished, made, console)
    facts = []
    for (task, name), (shape, lr) in best.items():
        results, (backbone, size) = [finished[run] for run in chosen[task, name]], built[name, shape]
        facts.append(
            Line(
                task,
                name,
                lr,
                lr in (min(rates), max(rates)) and len(rates) > 1,
                size.state_bytes,
                _count(backbone),
                [result["recall"] for result in results],
                options=size.options,
                batches=[result.get("batches", sizes.steps) for result in results],
            )
        )
    with writing(config.output):
        table = write_report(facts, _settings(sizes), config.output)
    console.print(table, markup=False, soft_wrap=True)
    for name in ("table.md", "areas.json", *(f"recall-{task}.png" for task in config.tasks), "tensorboard"):
        console.print(f"wrote {config.output / name}", markup=False, highlight=False, soft_wrap=True)
    return table


def _shapes(name: str, sizes: Sizes) -> list[str]:
    """Return the options of a memory that are tried, as JSON; one empty text for those that fit first."""
    if sizes.shapes == 1:
        return [""]
    _, size = build(name, sizes)
    given, least = sizes.options(), _FULL * size.state_bytes
    given = {option: value for option, value in given.items() if option in size.options}
    near = shapes_near(name, sizes.width, sizes.state_bytes, given, grid=True)
    found = [shape for shape in near if least <= shape.state_bytes <= sizes.state_bytes]
    return [json.dumps(shape.options) for shape in spread(Shape(size.options, size.state_bytes), found, sizes.shapes)]


def _still_valid(found: dict[Run, Any], made: Made, tasks: Sequence[Task], console: Console) -> dict[Run, Any]:
    """Return the runs of these memories and tasks whose provenance is unchanged; print why the others are repeated."""
    asked = {run: row for run, row in found.items() if (run.memory, run.shape) in made and run.task in tasks}
    why = {run: changes(run.memory, row.get("made"), made[run.memory, run.shape]) for run, row in asked.items()}
    for reason, number in Counter(reason for reason in why.values() if reason).items():
        console.print(f"re-run: {reason} ({number} runs)", markup=False, highlight=False, soft_wrap=True)
    return {run: row for run, row in asked.items() if not why[run]}


def _train_all(
    runs: Iterable[Run],
    config: RecallConfig,
    finished: dict[Run, Any],
    made: Made,
    console: Console,
) -> None:
    """Train the missing runs in parallel, and append each to the file when it ends."""
    todo = [run for run in runs if run not in finished]
    path = config.output / "runs.jsonl"
    with writing(path), path.open("a") as file:
        for number, (run, result) in enumerate(_results(todo, config), 1):
            finished[run] = result
            file.write(json.dumps({**run._asdict(), **result, "made": made[run.memory, run.shape]}) + "\n")
            file.flush()
            console.print(
                f"{number}/{len(todo)}  {run.task}  {run.memory}  {run.shape}  lr {run.lr:g}  seed {run.seed}:  "
                f"{_score(result):.3f} in {result['seconds']:.0f} s",
                markup=False,
                highlight=False,
            )


def _results(todo: Sequence[Run], config: RecallConfig) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Yield the runs as they end."""
    sizes = config.sizes()
    workers = min(len(todo), config.workers or (1 if config.device != "cpu" else os.cpu_count() or 1))
    if workers < 2:
        for run in todo:
            yield run, train(run, sizes, config.device)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))
    try:
        waiting = {pool.submit(train, run, sizes, config.device): run for run in todo}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(folder: Path, sizes: Sizes) -> None:
    """Write the sizes to a new output directory."""
    path = folder / "config.json"
    if not path.exists():
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(sizes.to_json(), encoding="utf-8")


def _open(folder: Path, sizes: Sizes) -> dict[Run, Any]:
    """Return the finished runs of the output directory; none of a new one."""
    path, runs, finished = folder / "config.json", folder / "runs.jsonl", dict[Run, Any]()
    if not path.exists():
        return finished
    try:
        found = Sizes.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no runs of lifelong recall: {path} cannot be read: {error}") from error
    for field in fields(Sizes):
        there, wanted = getattr(found, field.name), getattr(sizes, field.name)
        if there != wanted:
            raise UserError(
                f"{folder} has runs with {field.name}={there}, not {wanted}: take that, or another --output"
            )
    try:
        text = runs.read_text(encoding="utf-8") if runs.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # the last line may be incomplete
        for row in map(json.loads, whole.splitlines()):
            finished[Run(row["task"], row["memory"], row["lr"], row["seed"], row.get("shape", ""))] = row
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{runs} holds no runs of lifelong recall: line {len(finished) + 1}: {error_text(error)}"
        raise UserError(said) from error
    if whole != text:
        with writing(runs):
            runs.write_text(whole, encoding="utf-8")
    return finished


def _score(result: dict[str, Any]) -> float:
    """Return the mean recall at the shortest length."""
    return float(np.mean(list(next(iter(result["recall"].values())).values())))


def _count(backbone: Backbone) -> int:
    return sum(p.numel() for p in backbone.parameters())


def _settings(sizes: Sizes) -> str:
    around = f"{sizes.parameters:,} parameters" if sizes.parameters else "no MLPs"
    size = f"at most {sizes.state_bytes:,} bytes of state per layer"
    if sizes.equal == "shape":
        size = f"equal shapes ({' '.join(f'{name}={value}' for name, value in sizes.options().items())}), else {size}"
    batches = f"{sizes.steps:,} batches" if sizes.until == "steps" else f"rounds of {sizes.steps:,} batches"
    return (
        f"{sizes.layers} layers of width {sizes.width}, {around}, {size}; trained on {batches} of {sizes.batch} "
        f"sequences of {sizes.length} tokens; {sizes.keys} keys, {sizes.values} values"
    )
