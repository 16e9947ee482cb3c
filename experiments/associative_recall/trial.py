"""Train and test one model on associative recall.

The rate rises over the first tenth of the batches and falls by a cosine to 0. Trained until converged it stays instead,
round after round of as many batches, while a round raises the recall at the length of training by `_RISE`; then a last
round lets it fall. Memories learn at different speeds, some seeds take off late: after a fixed number of batches the
slower ones would be told apart by when they did.
"""

import json
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lifelong.agents.backbone import Backbone
from lifelong.experiments.associative_recall.equal_size import Size, equal_backbone, memory_settings, of_shape
from lifelong.experiments.associative_recall.sequences import NO_TARGET, Task, draw_sequences
from lifelong.experiments.associative_recall.sizes import TUNING_SEED, Sizes
from lifelong.experiments.runs.errors import as_user_error

__all__ = ["Model", "Run", "build", "train"]


_QUESTIONS = 64  # sequences of a test at the length of training; longer ones are fewer
_RISE, _ROUNDS = 0.01, 10


class Run(NamedTuple):
    """Key of a run: task, memory, learning rate, seed, and options of the memory as JSON, if several are tried."""

    task: Task
    memory: str
    lr: float
    seed: int
    shape: str = ""


class Model(nn.Module):
    """Sequence model of associative recall: embedding, backbone, linear map.

    Args:
        backbone: of width D.
        tokens: in the vocabulary.
        values: number of output classes.
    """

    def __init__(self, backbone: Backbone, tokens: int, values: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding = nn.Embedding(tokens, backbone.width)
        self.head = nn.Linear(backbone.width, values)

    def forward(self, tokens: Tensor, segment: int | None = None) -> Tensor:
        """Return logits [B, T, values] of tokens [B, T], in one pass or in segments whose state is carried on."""
        B, T = tokens.shape
        state, logits = self.backbone.initial_state(B), []
        for part in tokens.split(segment or T, 1):
            y, state = self.backbone(self.embedding(part), state, torch.zeros_like(part, dtype=torch.bool))
            logits.append(self.head(y))
        return torch.cat(logits, 1)


def train(run: Run, sizes: Sizes, device: str = "cpu") -> dict[str, Any]:
    """Train and test one model.

    Args:
        run: task, memory, learning rate and seed.
        sizes: shared settings.
        device: torch device.

    Returns:
        `recall`, the accuracy on queries by length (as a multiple) and pairs; `batches` of training; `seconds`.
    """
    began = time.monotonic()
    torch.manual_seed(run.seed)
    random = np.random.default_rng([run.seed, 1])
    backbone, _ = build(run.memory, sizes, run.shape)
    model = Model(backbone, 1 + sizes.keys + sizes.values, sizes.values).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.lr, weight_decay=0.1)

    def learn(share: Callable[[int], float]) -> None:
        """Train on a round of batches, each at a share of the learning rate."""
        for i in range(sizes.steps):
            for group in optimizer.param_groups:
                group["lr"] = run.lr * share(i)
            pairs = int(random.choice(sizes.pairs))
            tokens, targets = _draw(run.task, sizes, sizes.batch, sizes.length, pairs, random, device)
            loss = functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    def tested(times: int) -> dict[str, float]:
        return {str(P): _test(model, run, sizes, times, P, device) for P in sorted(sizes.pairs)}

    warm, rounds = max(1, sizes.steps // 10), 1
    if sizes.until == "steps":
        learn(lambda i: min((i + 1) / warm, _fall(i / sizes.steps)))
    else:
        best = 0.0
        learn(lambda i: min((i + 1) / warm, 1.0))
        while (score := float(np.mean(list(tested(1).values())))) > best + _RISE and rounds < _ROUNDS - 1:
            best, rounds = score, rounds + 1
            learn(lambda i: 1.0)
        rounds += 1
        learn(lambda i: _fall(i / sizes.steps))
    times = sorted(sizes.times) if run.seed < TUNING_SEED else [min(sizes.times)]
    recall = {str(k): tested(k) for k in times}
    return {"recall": recall, "batches": rounds * sizes.steps, "seconds": time.monotonic() - began}


def _fall(progress: float) -> float:
    """Return the share of the learning rate on its way from 1 to 0."""
    return 0.5 + 0.5 * math.cos(math.pi * progress)


def build(name: str, sizes: Sizes, shape: str = "") -> tuple[Backbone, Size]:
    """Return a backbone with a memory at the given size, and the memory's size.

    Args:
        name: of the memory.
        sizes: at equal shape, a memory that takes all options of the shape is not turned to the bytes.
        shape: more options of the memory, as JSON; they are not turned either.

    Raises:
        UserError: if there is no such memory, or none of that size.
    """
    with as_user_error():
        settings, asked = memory_settings(name), sizes.options()
        options = {option: value for option, value in asked.items() if option in settings}
        if shape or (sizes.equal == "shape" and options.keys() == asked.keys()):
            turned = options | (json.loads(shape) if shape else {})
            return of_shape(name, sizes.width, sizes.layers, sizes.parameters, **turned)
        return equal_backbone(name, sizes.width, sizes.layers, sizes.state_bytes, sizes.parameters, **options)


@torch.no_grad()
def _test(model: Model, run: Run, sizes: Sizes, times: int, pairs: int, device: str) -> float:
    """Return the accuracy on queries of held-out sequences."""
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
