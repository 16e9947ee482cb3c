"""Train memories of equal size on associative recall, and test them around capacity and beyond training length.

    lifelong recall                                        the usual memories, both tasks, about an hour on two cores
    lifelong recall --memories gated_delta kalman_delta --tasks rewrite
    lifelong recall --preset published --device cuda       the sizes of the Palimpsa paper; for a GPU

Trains small backbones on associative recall (`associative_recall/sequences.py`), with several numbers of pairs at once,
all of equal size: an upper bound on bytes of state per layer, parameters as close as possible. The learning rate of
each memory is chosen with separate seeds; then it is trained with every seed and tested with its state carried on, up
to 64 times the length.

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
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from rich.console import Console

from lifelong.agents.backbone import Backbone
from lifelong.experiments.associative_recall.provenance import changes, provenance
from lifelong.experiments.associative_recall.report import Line, write_report
from lifelong.experiments.associative_recall.sequences import Task, shortest
from lifelong.experiments.associative_recall.trial import PRESETS, TUNING_SEED, Run, Sizes, build, train
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_device, check_output, check_sizes

__all__ = ["RecallConfig", "command", "main"]


@dataclass(frozen=True)
class RecallConfig:
    """Train memories on associative recall and test them below and above what they can hold, and beyond their training.

    Args:
        memories: names of memories (see `lifelong list`), or package.module:Class.
        tasks: every pair shown once and asked once, or keys rewritten for ever and asked in between.
        preset: sizes for minutes on a CPU, or those of a paper; what is not given below takes its number.
        length: tokens of a sequence in training.
        pairs: keys of a sequence; a batch draws one of these numbers, and every one is tested.
        times: lengths of the tests, as multiples of that of training.
        keys: keys of the vocabulary.
        values: values of the vocabulary.
        width: width of the backbone.
        layers: blocks of the backbone.
        state_bytes: most bytes of state, per layer and sequence.
        parameters: parameters of the backbone.
        steps: batches of training.
        batch: sequences of a batch.
        learning_rates: learning rates of which each memory takes its best.
        tuning_seeds: runs at each learning rate to choose it by; their seeds are used for nothing else.
        seeds: runs at the chosen learning rate.
        workers: runs in parallel; 0 is one for every core, or one on a GPU.
        device: where to compute: cpu, cuda or cuda:<number>.
        output: directory of the runs and of what is made of them.
    """

    memories: tuple[str, ...] = (
        "none",
        "gru",
        "window",
        "linear_attention",
        "based",
        "gla",
        "mamba2",
        "delta_net",
        "gated_delta",
        "mesa",
        "not_palimpsa",
        "palimpsa",
        "palimpsa_scalar",
        "meta_mamba2",
        "kalman_delta",
    )
    tasks: tuple[Task, ...] = get_args(Task)
    preset: Literal["small", "published"] = "small"
    length: int | None = None
    pairs: tuple[int, ...] | None = None
    times: tuple[int, ...] | None = None
    keys: int | None = None
    values: int | None = None
    width: int | None = None
    layers: int | None = None
    state_bytes: int | None = None
    parameters: int | None = None
    steps: int | None = None
    batch: int | None = None
    learning_rates: tuple[float, ...] | None = None
    tuning_seeds: int = 1
    seeds: int = 5
    workers: int = 0
    device: str = "cpu"
    output: Path = Path("runs/recall")

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_sizes(self, ("length", "keys", "values", "width", "layers", "state_bytes", "parameters", "steps", "batch",
                           "tuning_seeds", "seeds"))  # fmt: skip
        check_output(self.output, folder=True)
        for name in ("memories", "tasks", "pairs", "times", "learning_rates"):
            value = getattr(self, name)
            if value is not None and not value:
                raise UserError(f"{name} must not be empty")
            if value is not None and not isinstance(value[0], str) and not min(value) > 0:
                raise UserError(f"{name} must be positive: {name}={value}")
        if self.workers < 0:
            raise UserError(f"workers must not be negative: workers={self.workers}")
        if self.tuning_seeds + self.seeds > TUNING_SEED:
            raise UserError(f"seeds must be fewer than {TUNING_SEED}: {self.seeds} and {self.tuning_seeds} of tuning")

    def sizes(self) -> Sizes:
        """Return the shared settings of the runs, from the config or the preset.

        Raises:
            UserError: if there are more pairs than keys, or sequences too short for them.
        """
        given = {field.name: getattr(self, field.name) for field in fields(Sizes)}
        sizes = replace(PRESETS[self.preset][0], **{name: value for name, value in given.items() if value is not None})
        if (most := max(sizes.pairs)) > sizes.keys:
            raise UserError(f"pairs must be at most keys={sizes.keys}: pairs={most}")
        if sizes.length < (least := max(shortest(task, most) for task in self.tasks)):
            raise UserError(f"length must be at least {least} with pairs={most}: length={sizes.length}")
        return sizes


def command(arguments: list[str]) -> None:
    """Run the verb with words from the command line."""
    main(parse(RecallConfig, arguments, "recall"), Console(stderr=True))


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
    built = {name: build(name, sizes) for name in memories}  # sizes are checked before any training
    made = {name: provenance(name, backbone, size.options) for name, (backbone, size) in built.items()}
    finished = _still_valid(_open(config.output, sizes), made, config.tasks, console)
    trainings = list(itertools.product(config.tasks, memories))
    tuning = range(TUNING_SEED, TUNING_SEED + config.tuning_seeds)
    tried = {
        (task, name): {lr: [Run(task, name, lr, seed) for seed in tuning] for lr in rates} for task, name in trainings
    }
    tuned = [run for by_rate in tried.values() for runs in by_rate.values() for run in runs]
    _train_all(tuned, config, finished, made, console)
    best = {
        training: max(rates, key=lambda lr: sum(_score(finished[run]) for run in by_rate[lr]))
        for training, by_rate in tried.items()
    }
    chosen = {
        (task, name): [Run(task, name, best[task, name], seed) for seed in range(config.seeds)]
        for task, name in trainings
    }
    _train_all([run for runs in chosen.values() for run in runs], config, finished, made, console)
    facts = [
        Line(
            task,
            name,
            best[task, name],
            best[task, name] in (min(rates), max(rates)) and len(rates) > 1,
            built[name][1].state_bytes,
            _count(built[name][0]),
            [finished[run]["recall"] for run in chosen[task, name]],
        )
        for task, name in trainings
    ]
    table = write_report(facts, _settings(sizes), config.output)
    console.print(table, markup=False, soft_wrap=True)
    for name in ("table.md", "areas.json", *(f"recall-{task}.png" for task in config.tasks), "tensorboard"):
        console.print(f"wrote {config.output / name}", markup=False, highlight=False, soft_wrap=True)
    return table


def _still_valid(
    found: dict[Run, Any], made: dict[str, dict[str, str]], tasks: Sequence[Task], console: Console
) -> dict[Run, Any]:
    """Return the runs of these memories and tasks whose provenance is unchanged; print why the others are repeated."""
    asked = {run: row for run, row in found.items() if run.memory in made and run.task in tasks}
    why = {run: changes(run.memory, row.get("made"), made[run.memory]) for run, row in asked.items()}
    for reason, number in Counter(reason for reason in why.values() if reason).items():
        console.print(f"re-run: {reason} ({number} runs)", markup=False, highlight=False, soft_wrap=True)
    return {run: row for run, row in asked.items() if not why[run]}


def _train_all(
    runs: Iterable[Run],
    config: RecallConfig,
    finished: dict[Run, Any],
    made: dict[str, dict[str, str]],
    console: Console,
) -> None:
    """Train the missing runs in parallel, and append each to the file when it ends."""
    todo = [run for run in runs if run not in finished]
    with (config.output / "runs.jsonl").open("a") as file:
        for number, (run, result) in enumerate(_results(todo, config), 1):
            finished[run] = result
            file.write(json.dumps({**run._asdict(), **result, "made": made[run.memory]}) + "\n")
            file.flush()
            console.print(
                f"{number}/{len(todo)}  {run.task}  {run.memory}  lr {run.lr:g}  seed {run.seed}:  "
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


def _open(folder: Path, sizes: Sizes) -> dict[Run, Any]:
    """Return the finished runs of the output directory, and write the sizes to a new one."""
    path, runs, finished = folder / "config.json", folder / "runs.jsonl", dict[Run, Any]()
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(sizes.to_json())
    try:
        found = Sizes.from_json(path.read_text())
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} holds no runs of lifelong recall: {path} cannot be read: {error!r}") from error
    for field in fields(Sizes):
        there, wanted = getattr(found, field.name), getattr(sizes, field.name)
        if there != wanted:
            raise UserError(
                f"{folder} has runs with {field.name}={there}, not {wanted}: take that, or another --output"
            )
    text = runs.read_text() if runs.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # the last line may be incomplete
    if whole != text:
        runs.write_text(whole)
    for line in whole.splitlines():
        row = json.loads(line)
        finished[Run(row["task"], row["memory"], row["lr"], row["seed"])] = row
    return finished


def _score(result: dict[str, Any]) -> float:
    """Return the mean recall at the shortest length."""
    return float(np.mean(list(next(iter(result["recall"].values())).values())))


def _count(backbone: Backbone) -> int:
    return sum(p.numel() for p in backbone.parameters())


def _settings(sizes: Sizes) -> str:
    return (
        f"{sizes.layers} layers of width {sizes.width}, {sizes.parameters:,} parameters, at most "
        f"{sizes.state_bytes:,} bytes of state per layer; trained on {sizes.steps:,} batches of {sizes.batch} "
        f"sequences of {sizes.length} tokens; {sizes.keys} keys, {sizes.values} values"
    )
