"""How much does a trained memory recall, below and above what it can hold, and far beyond the length of its training?

    lifelong recall                                        the usual memories, both tasks, about an hour on two cores
    lifelong recall --memories gated_delta kalman_delta --tasks rewrite
    lifelong recall --preset published --device cuda       the sizes of the Palimpsa paper; for a GPU

Trains small backbones on associative recall (`associative_recall/sequences.py`), with several numbers of pairs
at once, all of equal size: bytes of state per layer at most, parameters as possible. Each memory first finds
its learning rate, with seeds of their own; then it is trained anew with every seed and tested with its state carried
on, up to 64 times the length.

Runs are kept in OUTPUT/runs.jsonl as they end: the same command goes on where it was interrupted, and more memories or
seeds only cost what is new. Then OUTPUT/table.md, recall-<task>.png, and curves for TensorBoard are written.
"""

import itertools
import json
import math
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from lifelong.agents.backbone import Backbone
from lifelong.experiments.associative_recall.equal_size import Size, equal_backbone
from lifelong.experiments.associative_recall.report import Line, write_report
from lifelong.experiments.associative_recall.sequences import NO_TARGET, Task, draw_sequences, shortest
from lifelong.experiments.cli import parse
from lifelong.experiments.runs.errors import InputError, as_input_error

__all__ = ["PRESETS", "Model", "RecallConfig", "Run", "Sizes", "build", "command", "main", "train"]


@dataclass(frozen=True)
class Sizes:
    """What all runs of a comparison share; see `RecallConfig`."""

    length: int
    pairs: tuple[int, ...]
    keys: int
    values: int
    width: int
    state_bytes: int
    parameters: int
    steps: int
    batch: int
    layers: int = 2
    times: tuple[int, ...] = (1, 4, 16, 64)

    def to_json(self) -> str:
        """Return the sizes as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        found: dict[str, Any] = json.loads(text)
        for name in ("pairs", "times"):
            found[name] = tuple(found[name])
        return cls(**found)


PRESETS: dict[str, tuple[Sizes, tuple[float, ...]]] = {  # and learning rates
    "small": (
        Sizes(length=128, pairs=(4, 8, 16, 32), keys=64, values=64, width=32, state_bytes=2048, parameters=20_000,
              steps=600, batch=32),
        (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2),
    ),
    "published": (  # arXiv:2602.09075; its longer setting is --length 1024 --pairs 256 --batch 64
        Sizes(length=512, pairs=(128,), keys=4095, values=4096, width=128, state_bytes=32_768, parameters=400_000,
              steps=46_900, batch=128),
        (1e-3, 2.15e-3, 4.64e-3, 1e-2),
    ),
}  # fmt: skip

_TUNING_SEED = 1000  # seeds from here on only choose learning rates
_QUESTIONS = 64  # sequences of a test at the length of training; longer ones are fewer


@dataclass(frozen=True)
class RecallConfig:
    """How much does a trained memory recall, below and above what it can hold, and far beyond its training?"""

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
    """Names of memories (see `lifelong list`), or package.module:Class."""
    tasks: tuple[Task, ...] = get_args(Task)
    """Every pair shown once and asked once, or keys rewritten for ever and asked in between."""
    preset: Literal["small", "published"] = "small"
    """Sizes for minutes on a CPU, or those of a paper; every None below takes its number."""
    length: int | None = None
    """Tokens of a sequence in training."""
    pairs: tuple[int, ...] | None = None
    """Keys of a sequence; a batch draws one of them, and every one is tested."""
    times: tuple[int, ...] | None = None
    """Lengths of the tests, as multiples of that of training."""
    keys: int | None = None
    """Keys of the vocabulary."""
    values: int | None = None
    """Values of the vocabulary."""
    width: int | None = None
    """Of the backbone."""
    layers: int | None = None
    """Blocks of the backbone."""
    state_bytes: int | None = None
    """Most bytes of state, per layer and sequence."""
    parameters: int | None = None
    """Of the backbone."""
    steps: int | None = None
    """Batches of training."""
    batch: int | None = None
    """Sequences of a batch."""
    learning_rates: tuple[float, ...] | None = None
    """Of which each memory takes its best."""
    tuning_seeds: int = 1
    """Runs at each learning rate to choose it by; their seeds are used for nothing else."""
    seeds: int = 5
    """Runs at the chosen learning rate."""
    workers: int = 0
    """Runs at once; 0 is one for every core, or one on a GPU."""
    device: str = "cpu"
    """Where to compute."""
    output: Path = Path("runs/recall")
    """Directory of the runs and of what is made of them."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant."""
        for name in ("length", "keys", "values", "width", "layers", "state_bytes", "parameters", "steps", "batch",
                     "tuning_seeds", "seeds"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be positive: {name}={value}")
        for name in ("memories", "tasks", "pairs", "times", "learning_rates"):
            value = getattr(self, name)
            if value is not None and not value:
                raise InputError(f"{name} must not be empty")
            if value is not None and not isinstance(value[0], str) and not min(value) > 0:
                raise InputError(f"{name} must be positive: {name}={value}")
        if self.workers < 0:
            raise InputError(f"workers must not be negative: workers={self.workers}")
        if self.tuning_seeds + self.seeds > _TUNING_SEED:
            raise InputError(f"seeds must be fewer than {_TUNING_SEED}: {self.seeds} and {self.tuning_seeds} of tuning")

    def sizes(self) -> Sizes:
        """Return what the runs share, as said here or by the preset.

        Raises:
            InputError: if there are more pairs than keys, or sequences too short for them.
        """
        said = {field.name: getattr(self, field.name) for field in fields(Sizes)}
        sizes = replace(PRESETS[self.preset][0], **{name: value for name, value in said.items() if value is not None})
        if (most := max(sizes.pairs)) > sizes.keys:
            raise InputError(f"pairs must be at most keys={sizes.keys}: pairs={most}")
        if sizes.length < (least := max(shortest(task, most) for task in self.tasks)):
            raise InputError(f"length must be at least {least} with pairs={most}: length={sizes.length}")
        return sizes


class Run(NamedTuple):
    """One training."""

    task: Task
    memory: str
    lr: float
    seed: int


class Model(nn.Module):
    """Tokens in, values out: an embedding, a backbone, and a linear map.

    Args:
        backbone: of width D.
        tokens: in the vocabulary.
        values: that can be answered.
    """

    def __init__(self, backbone: Backbone, tokens: int, values: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding = nn.Embedding(tokens, backbone.width)
        self.head = nn.Linear(backbone.width, values)

    def forward(self, tokens: Tensor, segment: int | None = None) -> Tensor:
        """Return logits [B, T, values] of tokens [B, T], in one pass or in segments whose state is carried on."""
        B, T = tokens.shape
        state, said = self.backbone.initial_state(B), []
        for part in tokens.split(segment or T, 1):
            y, state = self.backbone(self.embedding(part), state, torch.zeros_like(part, dtype=torch.bool))
            said.append(self.head(y))
        return torch.cat(said, 1)


def command(arguments: list[str]) -> None:
    """Run the verb with words from the command line."""
    main(parse(RecallConfig, arguments, "recall"), Console(stderr=True))


def main(config: RecallConfig, console: Console | None = None) -> str:
    """Return the tables, and write them, pictures and events to `config.output`.

    Args:
        config: what to measure.
        console: where progress and the tables go; None keeps quiet.

    Raises:
        InputError: if the settings do not fit each other, a memory does not fit the size, or the output directory has
            runs of other settings.
    """
    console, sizes = console or Console(quiet=True), config.sizes()
    rates = config.learning_rates or PRESETS[config.preset][1]
    memories = list(dict.fromkeys(name if ":" in name else name.replace("-", "_") for name in config.memories))
    built = {name: build(name, sizes) for name in memories}  # before anything is trained: some may not fit
    done = _open(config.output, sizes)
    trainings = list(itertools.product(config.tasks, memories))
    tuning = range(_TUNING_SEED, _TUNING_SEED + config.tuning_seeds)
    tried = {
        (task, name): {lr: [Run(task, name, lr, seed) for seed in tuning] for lr in rates} for task, name in trainings
    }
    _train_all([run for by_rate in tried.values() for runs in by_rate.values() for run in runs], config, done, console)
    best = {
        training: max(rates, key=lambda lr: sum(_score(done[run]) for run in by_rate[lr]))
        for training, by_rate in tried.items()
    }
    chosen = {
        (task, name): [Run(task, name, best[task, name], seed) for seed in range(config.seeds)]
        for task, name in trainings
    }
    _train_all([run for runs in chosen.values() for run in runs], config, done, console)
    facts = [
        Line(
            task,
            name,
            best[task, name],
            best[task, name] in (min(rates), max(rates)) and len(rates) > 1,
            built[name][1].state_bytes,
            _count(built[name][0]),
            [done[run]["recall"] for run in chosen[task, name]],
        )
        for task, name in trainings
    ]
    table = write_report(facts, _settings(sizes), config.output)
    console.print(table, markup=False, soft_wrap=True)
    return table


def train(run: Run, sizes: Sizes, device: str = "cpu") -> dict[str, Any]:
    """Train and test one model.

    Args:
        run: what to train.
        sizes: of everything.
        device: where to compute.

    Returns:
        `recall`, the share of questions answered rightly by length (as a multiple) and pairs; `seconds`.
    """
    began = time.monotonic()
    torch.manual_seed(run.seed)
    random = np.random.default_rng([run.seed, 1])
    backbone, _ = build(run.memory, sizes)
    model = Model(backbone, 1 + sizes.keys + sizes.values, sizes.values).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.lr, weight_decay=0.1)
    warm = max(1, sizes.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * i / sizes.steps))
    )
    for _ in range(sizes.steps):
        pairs = int(random.choice(sizes.pairs))
        tokens, targets = _draw(run.task, sizes, sizes.batch, sizes.length, pairs, random, device)
        loss = functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    times = sorted(sizes.times) if run.seed < _TUNING_SEED else [min(sizes.times)]
    recall = {str(k): {str(P): _test(model, run, sizes, k, P, device) for P in sorted(sizes.pairs)} for k in times}
    return {"recall": recall, "seconds": time.monotonic() - began}


def build(name: str, sizes: Sizes) -> tuple[Backbone, Size]:
    """Return the backbone of a memory at the size that is asked, and the memory's.

    Raises:
        InputError: if there is no such memory, or none of that size.
    """
    with as_input_error():
        return equal_backbone(name, sizes.width, sizes.layers, sizes.state_bytes, sizes.parameters)


@torch.no_grad()
def _test(model: Model, run: Run, sizes: Sizes, times: int, pairs: int, device: str) -> float:
    """Return the share of questions answered rightly in sequences that no training has seen."""
    random = np.random.default_rng([run.seed, 2, times, pairs])
    sequences = max(_QUESTIONS // 4, _QUESTIONS // times)
    tokens, targets = _draw(run.task, sizes, sequences, times * sizes.length, pairs, random, device)
    right = model(tokens, sizes.length).argmax(-1) == targets
    return float(right.sum() / (targets != NO_TARGET).sum())


def _draw(
    task: Task, sizes: Sizes, batch: int, length: int, pairs: int, random: np.random.Generator, device: str
) -> tuple[Tensor, Tensor]:
    drawn = draw_sequences(task, batch, length, pairs, sizes.keys, sizes.values, random)
    tokens, targets = (torch.from_numpy(array).to(device) for array in drawn)
    return tokens, targets


# ---- many runs ------------------------------------------------------------------------------------------------------


def _train_all(runs: Iterable[Run], config: RecallConfig, done: dict[Run, Any], console: Console) -> None:
    """Train what is not done yet, several at once, and write each run down when it ends."""
    todo = [run for run in runs if run not in done]
    with (config.output / "runs.jsonl").open("a") as file:
        for number, (run, result) in enumerate(_results(todo, config), 1):
            done[run] = result
            file.write(json.dumps({**run._asdict(), **result}) + "\n")
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
    """Return the runs that the output directory has already, and write the sizes to a new one."""
    path, runs, done = folder / "config.json", folder / "runs.jsonl", dict[Run, Any]()
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(sizes.to_json())
    found = Sizes.from_json(path.read_text())
    for field in fields(Sizes):
        there, wanted = getattr(found, field.name), getattr(sizes, field.name)
        if there != wanted:
            raise InputError(
                f"{folder} has runs with {field.name}={there}, not {wanted}: take that, or another --output"
            )
    text = runs.read_text() if runs.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # the last line may have been cut off while it was written
    if whole != text:
        runs.write_text(whole)
    for line in whole.splitlines():
        row = json.loads(line)
        done[Run(row["task"], row["memory"], row["lr"], row["seed"])] = row
    return done


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
