"""Train an agent on a stream of tasks, its memory carried over every episode's end.

    lifelong train                                     cued recall with the gated delta rule, minutes on two cores
    lifelong train --memory palimpsa --seed 1
    lifelong train colour-rule                         hidden rules on MiniGrid
    lifelong train gym:CartPole-v1 --memory gru        anything gymnasium can make
    lifelong train --resume runs/NAME                  go on with an interrupted run

Ends with the retention of the frozen agent in fresh lives, as a table.
"""

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from numpy.typing import NDArray
from rich.console import Console

from lifelong.agents import Rollout, Segment, join_rows
from lifelong.envs import StreamError
from lifelong.experiments.cli import parse
from lifelong.experiments.metrics.retention import Rows
from lifelong.experiments.runs.build import make_agent, make_learner, make_world
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.directory import create_run, flat, open_run, restore, save
from lifelong.experiments.runs.episodes import EpisodeLog
from lifelong.experiments.runs.errors import InputError
from lifelong.experiments.runs.evaluation import EVALUATION_SEED, live_frozen, training_horizon
from lifelong.experiments.runs.process import resident_bytes
from lifelong.experiments.runs.progress import Progress
from lifelong.experiments.runs.summary import Verdict, judge, show_verdict
from lifelong.experiments.runs.tensorboard import RunWriter, first_page

__all__ = ["Outcome", "Training", "command", "main"]

_REPORT_EVERY = 5.0  # seconds between two looks at the rows for TensorBoard


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Args:
        folder: of the run.
        steps: environment steps lived.
        seconds: spent living and learning.
        finished: false if it was interrupted.
        verdict: on the frozen agent in fresh lives; None without an evaluation.
    """

    folder: Path
    steps: int
    seconds: float
    finished: bool
    verdict: Verdict | None


def command(arguments: list[str]) -> None:
    """Run the verb with words from the command line."""
    main(parse(TrainConfig, arguments, "train"), Console(stderr=True))


def main(config: TrainConfig, console: Console | None = None) -> Outcome:
    """Train, or go on training.

    Args:
        config: what to do.
        console: where progress and the table go; None keeps quiet.

    Raises:
        InputError: if the config cannot be met; nothing is written then.
    """
    console = console or Console(quiet=True)
    resumed = config.resume is not None
    config = _interrupted_run(config) if resumed else config.resolved()
    with Training(config, resumed, console) as training:
        finished = training.train()
        verdict = training.evaluate() if finished and config.evaluation_lives else None
    outcome = Outcome(config.run, training.lifetime.steps, training.seconds, finished, verdict)
    _tell(outcome, config, console)
    return outcome


class Training:
    """A run in the making: world, agent, learner, and where their story is written.

    Args:
        config: with every setting resolved.
        resumed: go on from the run's checkpoint.
        console: where progress goes.
    """

    def __init__(self, config: TrainConfig, resumed: bool, console: Console) -> None:
        torch.set_num_threads(config.threads)
        self.config, self.console, self.resumed = config, console, resumed
        self.world = make_world(config)
        self.agent = make_agent(config, self.world)
        self.learner = make_learner(config, self.agent)
        self.lifetime = Rollout(self.agent, self.world, config.carry, cuda_graph=config.cuda_graph)
        self.folder = config.run if resumed else create_run(config)
        facts = restore(self.folder, self.lifetime, self.world, self.learner) if resumed else {}
        self.seconds: float = facts.get("seconds", 0.0)
        self.mean_length: float = facts.get("mean_length", 1.0)
        self.log = EpisodeLog(self.folder, "train")
        self.log.truncate(facts.get("rows", 0))
        self.writer = RunWriter(
            self.folder, None if resumed else config.to_json(), purge_step=self.lifetime.steps if resumed else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.close()
        self.writer.close()
        self.world.close()
        broken = isinstance(error, StreamError) and bool(error.report)  # how is kept
        if error is not None and not self.resumed and not self.lifetime.steps and not broken:
            shutil.rmtree(self.folder)  # nothing was lived: as if it had never begun

    def train(self) -> bool:
        """Live and learn until the steps are done, or someone interrupts; return whether they are done."""
        config, lifetime = self.config, self.lifetime
        assert config.steps is not None  # noqa: S101  resolved
        assert config.segment is not None  # noqa: S101
        assert config.lr is not None  # noqa: S101
        recent: list[Rows] = []
        mark, saved = _now(lifetime.steps), lifetime.steps
        with _interruptible() as interrupted, Progress(config.steps, lifetime.steps, self.console) as progress:
            if not self.resumed:
                self.checkpoint()  # a run that breaks before the next one can still go on, from its beginning
            while lifetime.steps < config.steps and not interrupted:
                began = time.monotonic()
                segment = self._live(config.segment)
                left = max(1.0 - lifetime.steps / config.steps, 0.0)
                lr_fraction = config.final_lr_fraction + (1.0 - config.final_lr_fraction) * left
                learned = self.learner.learn(segment, lr_fraction) | {"lr": config.lr * lr_fraction}
                if segment.episodes:
                    self.log.append(segment.episodes)
                    recent.append(segment.episodes)
                    self.mean_length = float(segment.episodes["length"].mean())
                progress.update(lifetime.steps, segment.episodes)
                self.seconds += time.monotonic() - began
                if recent and time.monotonic() - mark[0] > _REPORT_EVERY:
                    wall, cpu, steps = (b - a for a, b in zip(mark, _now(lifetime.steps), strict=True))
                    speeds = {"steps_per_second": steps / wall, "steps_per_cpu_second": steps / cpu}
                    self._report(recent, learned, speeds)
                    recent, mark = [], _now(lifetime.steps)
                if config.checkpoint_every and lifetime.steps - saved >= config.checkpoint_every:
                    self.checkpoint()
                    saved = lifetime.steps
            self.checkpoint()
        return lifetime.steps >= config.steps

    def _live(self, length: int) -> Segment:
        """Live one segment; if an environment breaks, keep how, and everything as it was before the segment."""
        lifetime, position, random = self.lifetime, self.world.position(), torch.get_rng_state()
        memory = lifetime.state  # a segment writes over a copy
        try:
            return lifetime.collect(length)
        except StreamError as error:
            if not lifetime.steps and not error.report:  # nothing was lived, and nothing is known
                raise
            lifetime.state = memory
            torch.set_rng_state(random)
            self.checkpoint(position)
            path = self.folder / "crash.json"
            path.write_text(json.dumps({"error": str(error), **error.report}, indent=1) + "\n")
            raise StreamError(f"{error}; see {path}, and go on with --resume {self.folder}", error.report) from error

    def checkpoint(self, position: dict[str, NDArray[Any]] | None = None) -> None:
        """Make everything up to here, or to a position of the world, durable."""
        self.log.flush()
        self.writer.flush()
        facts = {"rows": self.log.rows, "seconds": self.seconds, "mean_length": self.mean_length}
        save(self.folder, self.lifetime, position or self.world.position(), self.learner, facts)

    def evaluate(self) -> Verdict:
        """Let the frozen agent lead fresh lives as those of training, and measure them."""
        steps = training_horizon(self.config, self.mean_length)
        world = make_world(self.config, num_envs=self.config.evaluation_lives, seed=EVALUATION_SEED + self.config.seed)
        rows = live_frozen(
            self.agent, world, steps, carry=self.config.carry, seed=self.config.seed, cuda_graph=self.config.cuda_graph
        )
        world.close()
        with EpisodeLog(self.folder, "sandbox") as log:
            log.truncate(0)
            if rows:
                log.append(rows)
        verdict = judge(rows, self.world)
        if verdict.curve is not None:
            self.writer.retention(verdict.curve, self.lifetime.steps)
        return verdict

    def _report(self, recent: list[Rows], learned: dict[str, float], speeds: dict[str, float]) -> None:
        rows = join_rows(recent)
        verdict, step = judge(rows, self.world, resamples=0), self.lifetime.steps
        scalars = {f"train/{name}": value for name, value in learned.items()}
        scalars |= {"train/reward": verdict.mean_return, "time/resident_bytes": resident_bytes()}
        scalars |= {f"time/{name}": value for name, value in speeds.items()}
        scalars |= {"retention/known": verdict.known, "retention/memory_index": verdict.index}
        norms = {"/".join(k): v for k, v in flat(self.lifetime.state).items() if v.is_floating_point()}
        scalars |= {f"memory/norm_{name}": v.flatten(1).norm(dim=1).mean().item() for name, v in norms.items()}
        scalars["memory/bytes"] = self.agent.backbone.state_bytes
        self.writer.scalars(scalars, step)
        if verdict.curve is not None:
            self.writer.retention(verdict.curve, step)


def _interrupted_run(config: TrainConfig) -> TrainConfig:
    """Return the config of the run to go on with; the resume flag may come with nothing else."""
    assert config.resume is not None  # noqa: S101  the caller's business
    other = [
        field.name
        for field in fields(TrainConfig)
        if field.name != "resume" and getattr(config, field.name) != field.default
    ]
    if other:
        raise InputError(f"--resume goes on with what {config.resume} was; it cannot also change {', '.join(other)}")
    found = open_run(config.resume)
    folder = config.resume.resolve()  # `.` has no name
    return replace(found, runs=folder.parent, name=folder.name, overwrite=False)


def _now(steps: int) -> tuple[float, float, int]:
    """Return the time by the clock, the processor's own, and the steps so far."""
    return time.monotonic(), time.process_time(), steps


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Let Ctrl-C or a termination fill the list instead of breaking a step; the second time it breaks."""
    seen: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {name: signal.getsignal(name) for name in names}

    def note(number: int, frame: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    for name in names:
        signal.signal(name, note)
    try:
        yield seen
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _tell(outcome: Outcome, config: TrainConfig, console: Console) -> None:
    """Print what came out, and where to look further."""
    speed = outcome.steps / max(outcome.seconds, 1e-9)
    console.print(f"{outcome.steps:,} steps in {outcome.seconds:,.0f} s ({speed:,.0f} steps/s) · {outcome.folder}")
    if not outcome.finished:
        console.print(f"interrupted; go on with: lifelong train --resume {outcome.folder}")
    if outcome.verdict is not None:
        show_verdict(outcome.verdict, f"frozen {config.memory} in fresh lives", console)
    console.print(f"look further: tensorboard --logdir {outcome.folder.parent}, then {first_page()}", soft_wrap=True)
