"""Load checkpoints in which one tensor is wrong, one after the other, and go on where that is accepted.

A program of its own: what is not refused may be a segmentation fault.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lifelong.agents import CheckpointError, Rollout
from lifelong.agents.checkpoint import Checkpoint
from lifelong.envs import StreamError
from lifelong.experiments.runs import directory
from lifelong.experiments.runs.build import make_agent, make_learner
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig

NUM_ENVS, SEGMENT = 3, 5
FACTS = {"rows": 0, "seconds": 0.0, "mean_length": 1.0}


def harmed(tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield a tensor with another dtype, shape, no entries, NaN, negative and huge numbers."""
    yield "dtype", tensor.to(torch.int32 if tensor.is_floating_point() else torch.float32)
    yield "narrower", tensor.to(torch.float16 if tensor.is_floating_point() else torch.int16)
    yield "shape", torch.stack([tensor, tensor])
    yield "empty", tensor.new_zeros(0)
    if tensor.dtype is torch.bool or not tensor.numel():
        return
    places = [(0,) * tensor.ndim, tuple(size - 1 for size in tensor.shape)]
    numbers = {"negative": -1, "very negative": -(10**6), "huge": 10**6}
    numbers |= {"nan": float("nan"), "inf": float("inf")} if tensor.is_floating_point() else {"vast": 2**62}
    for name, number in numbers.items():
        if tensor.dtype is torch.uint8 or (tensor.dtype is not torch.int64 and not tensor.is_floating_point()):
            number %= 256
        wrong = tensor.clone()
        for place in places:
            wrong[place] = number
        yield name, wrong


def harm(memory: str, stream: str, folder: Path, parts_of: tuple[str, ...]) -> tuple[int, int]:
    """Return how many checkpoints were refused, and with how many training went on."""
    config = TrainConfig(stream=stream, memory=memory, num_envs=NUM_ENVS, width=16, segment=SEGMENT, steps=10**6)
    config = replace(config, ppo=replace(config.ppo, minibatches=1, epochs=1)).resolved()
    env = make_env(config)
    agent = make_agent(config, env)
    learner, rollout = make_learner(config, agent), Rollout(agent, env, config.carry, seed=1)
    for _ in range(2):
        learner.learn(rollout.collect(SEGMENT))
    whole = directory.capture(rollout, env.snapshot(), learner, FACTS).on_cpu()
    refused = accepted = 0
    for part in [part for part in whole.parts if part in parts_of or not parts_of]:
        for name, tensor in whole.parts[part].items():
            for kind, wrong in harmed(tensor):
                parts = {p: {n: x.clone() for n, x in t.items()} for p, t in whole.parts.items()}
                parts[part][name] = wrong
                found = Checkpoint(folder, parts, {**whole.facts})
                directory.find_checkpoint = lambda _, found=found: found  # type: ignore[assignment]
                case = f"{memory} {stream}: {part} {name} {kind}"
                print(case, flush=True)  # noqa: T201  the last one is where it crashed
                try:
                    directory.restore(folder, rollout, env, learner)
                except (CheckpointError, StreamError):
                    refused += 1
                    continue
                accepted += 1
                assert kind not in ("dtype", "narrower", "shape", "nan", "inf"), case
                if not wrong.is_floating_point():  # of huge weights nothing can be expected
                    rollout.collect(SEGMENT)
    return refused, accepted


def main() -> None:
    """Harm checkpoints: PART,PART MEMORY:STREAM MEMORY:STREAM ..., with `all` for all parts."""
    parts, *pairs = sys.argv[1:]
    for pair in pairs:
        memory, _, stream = pair.partition(":")
        refused, accepted = harm(memory, stream, Path("runs/x"), tuple(parts.split(",")) if parts != "all" else ())
        print(f"done {pair}: {refused} refused, {accepted} accepted")  # noqa: T201


if __name__ == "__main__":
    main()
