"""Trainer: env, agent and learner of a run, the loop over segments, and what is written on the way."""

import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType, TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from lifelong.agents import Rollout, Segment, join_rows
from lifelong.envs import StreamError
from lifelong.envs.stream import ROW
from lifelong.experiments.metrics.gain import scores
from lifelong.experiments.metrics.matrix import performance_matrix
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.build import make_agent, make_env, make_learner
from lifelong.experiments.runs.carried_on import CarriedOn, carry_on
from lifelong.experiments.runs.config import TrainConfig, options
from lifelong.experiments.runs.directory import create_run, restore, save
from lifelong.experiments.runs.episodes import FROZEN, EpisodeLog, read_episodes
from lifelong.experiments.runs.evaluation import evaluate_frozen, training_horizon
from lifelong.experiments.runs.health import Health
from lifelong.experiments.runs.lives import how_lives_end, last_empty_memory
from lifelong.experiments.runs.loggers import Loggers, check_loggers
from lifelong.experiments.runs.matrix import matrix_scalars, plot_matrix
from lifelong.experiments.runs.process import resident_bytes
from lifelong.experiments.runs.progress import Progress
from lifelong.experiments.runs.recent_rows import RecentRows
from lifelong.experiments.runs.summary import Summary, recent_scalars, retention_of, summarise, task_scalars
from lifelong.experiments.runs.surface import plot_surface, surface_of
from lifelong.experiments.runs.task_evaluation import TaskEvaluation
from lifelong.experiments.runs.tensorboard import final_scalars, learning_scalars

__all__ = ["Trainer"]

_REPORT_EVERY = 5.0  # seconds between two looks at the rows for TensorBoard


class Trainer:
    """Trains the agent of one run and writes its logs and checkpoints.

    Args:
        config: with every setting resolved.
        resumed: go on from the run's checkpoint.
        console: where progress goes.
        report_steps: environment steps between two reports to TensorBoard, so that two trainings can be compared; if
            not given, reports fall by the clock.
        new_episodes: of a resumed run: abandon the unfinished episodes, and begin the next ones.
    """

    def __init__(
        self,
        config: TrainConfig,
        resumed: bool,
        console: Console,
        *,
        report_steps: int | None = None,
        new_episodes: bool = False,
    ) -> None:
        torch.set_num_threads(config.threads)
        self.config, self.console, self.resumed, self.report_steps = config, console, resumed, report_steps
        check_loggers(config.log)
        self.env = make_env(config)
        self.agent = make_agent(config, self.env)
        self.learner = make_learner(config, self.agent)
        self.rollout = Rollout(self.agent, self.env, config.carry, cuda_graph=config.cuda_graph)
        self.evaluation = TaskEvaluation(config, self.env)
        self.health = Health(self.learner, config.steps or 0, always=report_steps is not None, resumed=resumed)
        self.folder = config.run if resumed else create_run(config, self.agent)
        facts: dict[str, Any] = {}
        if resumed:
            kwargs, live = options(config.env_kwargs), (self.rollout, self.env, self.learner)
            facts = restore(self.folder, *live, env_kwargs=kwargs, new_episodes=new_episodes)
        self.new_episodes: list[int] = facts.get("new_episodes", [])
        if new_episodes:
            self.new_episodes.append(self.rollout.steps)
            console.print(_abandoned(*facts["abandoned"]), soft_wrap=True, markup=False, highlight=False)
        self.seconds: float = facts.get("seconds", 0.0)
        self.mean_length: float = facts.get("mean_length", 1.0)
        self.tasks = [task.name for task in self.env.tasks]
        self.last_empty_memory = last_empty_memory(config, facts) if resumed else 0
        self._by_visits = self.env.retention == "gain"  # a curve of visits, longer than what is recent
        self.log = EpisodeLog(self.folder, "train", tasks=self.tasks)
        self.log.truncate(facts.get("rows", 0))
        self.evaluation.restore(facts)
        self.evaluation_log = EpisodeLog(self.folder, config.evaluate_mode, tasks=self.tasks)
        self.evaluation_log.truncate(facts.get("evaluation_rows", 0))
        self._evaluated: list[Rows] = []
        if self.evaluation_log.rows:
            self._evaluated.append(read_episodes(self.folder, [config.evaluate_mode], [*ROW, "train_step"]))
        self.writer = Loggers(config.log, self.folder, config.to_json(), self.rollout.steps if resumed else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.close()
        self.evaluation_log.close()
        self.evaluation.close()
        self.writer.close()
        self.env.close()
        broken = isinstance(error, StreamError) and bool(error.report)  # how is kept
        if error is not None and not self.resumed and not self.rollout.steps and not broken:
            shutil.rmtree(self.folder)  # nothing was lived: as if it had never begun

    def train(self) -> bool:
        """Collect and learn until the steps are done or a signal interrupts; return whether they are done."""
        config, rollout = self.config, self.rollout
        assert config.steps is not None  # noqa: S101  resolved
        assert config.segment is not None  # noqa: S101
        recent: list[Rows] = []
        segment: Segment | None = None
        learned: dict[str, float] = {}
        history = RecentRows()
        mark, saved = _now(rollout.steps), rollout.steps
        if self.evaluation.refusal:
            self.console.print(
                f"the tasks are not evaluated during training: {self.evaluation.refusal}", soft_wrap=True, markup=False
            )
        self.console.print(how_lives_end(self.env), soft_wrap=True, markup=False)
        if not self.resumed:
            self.console.print(self.agent.encoder.describe(), soft_wrap=True, markup=False, highlight=False)
        with _interruptible() as interrupted, Progress(config.steps, rollout.steps, self.console) as progress:
            if not self.resumed:
                if self.evaluation.due_at_start():
                    self.evaluate_tasks()
                self.checkpoint()  # a run that breaks before the next one can still go on, from its beginning
            while rollout.steps < config.steps and not interrupted:
                began = time.monotonic()
                segment = self._collect(config.segment)
                if bool(segment.steps["start"].any()):
                    self.last_empty_memory = rollout.steps - segment.steps["start"].numel()
                self.health.learning.observe(segment)
                left = max(1.0 - rollout.steps / config.steps, 0.0)
                lr_fraction = config.final_lr_fraction + (1.0 - config.final_lr_fraction) * left
                learned = self.learner.learn(segment, lr_fraction) | {"lr": config.learning.lr * lr_fraction}
                if segment.episodes:
                    self.log.append(segment.episodes)
                    recent.append(segment.episodes)
                    if self._by_visits:
                        history.append(segment.episodes)
                    self.mean_length = float(segment.episodes["length"].mean())
                progress.update(rollout.steps, segment.episodes)
                self.seconds += time.monotonic() - began
                waited, lived = time.monotonic() - mark[0], rollout.steps - mark[2]
                if recent and (lived >= self.report_steps if self.report_steps else waited > _REPORT_EVERY):
                    self._report(segment, recent, history, learned, _speeds(mark, rollout.steps))
                    recent, mark = [], _now(rollout.steps)
                if self.evaluation.due(rollout.steps, segment.episodes):
                    self.evaluate_tasks()
                if config.checkpoint_every and rollout.steps - saved >= config.checkpoint_every:
                    self.checkpoint()
                    saved = rollout.steps
            if segment is not None and recent:
                self._report(segment, recent, history, learned, _speeds(mark, rollout.steps))
            if rollout.steps >= config.steps:
                if self.evaluation.due_at_end(rollout.steps):
                    self.evaluate_tasks()
                elif self.evaluation.on and not self.evaluation.evaluated:
                    said = "the tasks were not evaluated, since that takes more than 5 % of the steps"
                    self.console.print(f"{said}: --evaluate-every boundary does it all the same", soft_wrap=True)
            self.checkpoint()
        return rollout.steps >= config.steps

    def _collect(self, length: int) -> Segment:
        """Collect one segment. If the environment raises, write crash.json and a checkpoint from before the segment."""
        rollout, position, random = self.rollout, self.env.position(), torch.get_rng_state()
        memory = rollout.state  # a segment writes over a copy
        try:
            return rollout.collect(length)
        except StreamError as error:
            if not rollout.steps and not error.report:  # nothing was lived, and nothing is known
                raise
            rollout.state = memory
            torch.set_rng_state(random)
            self.checkpoint(position)
            path = self.folder / "crash.json"
            path.write_text(json.dumps({"error": str(error), **error.report}, indent=1) + "\n")
            remedy = f"go on with --resume {self.folder}, and --new-episodes if it breaks again"
            raise StreamError(f"{error}; see {path}, and {remedy}", error.report) from error

    def checkpoint(self, position: dict[str, NDArray[Any]] | None = None) -> None:
        """Write a checkpoint of everything up to here, or up to a position of the env."""
        self.log.flush()
        self.evaluation_log.flush()
        self.writer.flush()
        facts: dict[str, Any] = {"rows": self.log.rows, "seconds": self.seconds, "mean_length": self.mean_length}
        facts["last_empty_memory"] = self.last_empty_memory
        if self.config.env_kwargs:
            facts["env_kwargs"] = options(self.config.env_kwargs)
        if self.new_episodes:
            facts["new_episodes"] = self.new_episodes
        if self.evaluation.copies is not None:
            facts |= self.evaluation.facts() | {"evaluation_rows": self.evaluation_log.rows}
        save(self.folder, self.rollout, position or self.env.position(), self.learner, facts)

    def evaluate_tasks(self) -> None:
        """Evaluate copies of the living agent on every task, and write their rows and the performance matrix."""
        step = self.rollout.steps
        try:
            rows = self.evaluation.run(self.rollout)
        except StreamError as error:  # of a copy; the living go on
            self.console.print(f"the tasks are not evaluated any more: {error}", soft_wrap=True, markup=False)
            self.evaluation.every = "off"
            return
        if not rows and not step:
            return  # of the untrained agent they may be the longest
        if not rows:
            self.console.print(f"the tasks were not evaluated after {step:,} steps: their episodes took too long")
            return
        self.evaluation_log.append(rows, step)
        self._evaluated.append({**rows, "train_step": np.full_like(rows["step"], step)})
        mode, rows = self.config.evaluate_mode, join_rows(self._evaluated)
        steps, tasks, R = performance_matrix(rows)
        names = [self.tasks[task] for task in tasks]
        scalars = {f"tasks/{name.replace('/', '-')}/{mode}": float(R[-1, j]) for j, name in enumerate(names)}
        self.writer.scalars(scalars | matrix_scalars(R) | self.evaluation.transfer(steps, tasks, R), step)
        doubled = len(steps).bit_count() == 1  # since it was drawn, which takes longer than a few copies
        if doubled or step >= (self.config.steps or 0):
            title = f"{scores(rows)[1]} of copies of the living agent, {mode}"
            self.writer.figure("transfer/performance_matrix", plot_matrix(steps, names, R, title), step)

    def transfer(self) -> dict[str, float]:
        """Return backward and forward transfer by TensorBoard tag, as far as they are known."""
        return self.evaluation.transfer(*performance_matrix(join_rows(self._evaluated))) if self._evaluated else {}

    def evaluate(self) -> Summary:
        """Evaluate the frozen agent in fresh lives of the length of training; drawn actions come first."""
        evaluated = evaluate_frozen(self.agent, self.config, self.mean_length)
        for note in evaluated.notes:
            self.console.print(note, soft_wrap=True, markup=False, highlight=False)
        for actions, mode in reversed(FROZEN.items()):  # when the rows of drawn actions are there, all are
            with EpisodeLog(self.folder, mode, tasks=self.tasks) as log:
                log.truncate(0)
                if rows := evaluated.rows.get(actions):
                    log.append(rows, self.rollout.steps)
        returns = {actions: float(rows["return"].mean()) for actions, rows in evaluated.rows.items() if rows}
        self.writer.scalars({f"evaluation/return_{name}": value for name, value in returns.items()}, self.rollout.steps)
        actions, rows = next(iter(evaluated.rows.items()))
        summary = summarise(rows, self.env, actions)
        if actions == "drawn":
            summary = replace(summary, greedy_return=returns.get("greedy", math.nan))
        self.writer.retention(summary.curve, self.rollout.steps)
        if (surface := surface_of(rows, self.env)) is not None:
            title = f"{self.config.run.name}, frozen in fresh lives, {actions} actions"
            self.writer.figure("retention/load_and_lag", plot_surface(surface, title=title), self.rollout.steps)
        return summary

    def lived(self) -> Summary | None:
        """Measure the rows of training, where its lives are endless and meet several tasks; else return None."""
        if not self._by_visits or not self.config.endless:
            return None
        self.log.flush()
        summary = summarise(read_episodes(self.folder, ["train"]), self.env)
        self.writer.retention(summary.curve, self.rollout.steps)
        return summary

    def carried_on(self) -> CarriedOn | None:
        """Compare the memory of training, carried on, with the new lives of `evaluate`.

        Returns:
            None where lives end or do not keep their memory, several tasks come, lives cannot be copied, or no new life
            was evaluated.
        """
        config, env = self.config, self.env
        ends = env.life_episodes is not None or env.life_hazard is not None or config.carry != "lifetime"
        if ends or env.retention is not None:
            return None
        rows = read_episodes(self.folder, ["frozen"])
        if not rows["return"].size:
            return None
        steps = training_horizon(config, self.mean_length)
        try:
            return carry_on(config, self.rollout, env, rows, steps)
        except (StreamError, ValueError) as error:
            self.console.print(f"the memory of training was not carried on: {error}", soft_wrap=True, markup=False)
            return None

    def finish(self, summary: Summary | None) -> None:
        """Write the final metrics of a run that is finished.

        Args:
            summary: of the run as a whole; None if it was not measured.
        """
        whole = (None, None, math.nan) if summary is None else (summary.curve, summary.first, summary.index)
        self.writer.finish(final_scalars(*whole), self.rollout.steps)

    def _report(
        self,
        segment: Segment,
        recent: list[Rows],
        history: RecentRows,
        learned: dict[str, float],
        speeds: dict[str, float],
    ) -> None:
        rows, step = join_rows(recent), self.rollout.steps
        scalars = learning_scalars(learned) | recent_scalars(rows, self.env)
        scalars |= {"charts/SPS": speeds["steps_per_second"], "time/resident_bytes": resident_bytes()}
        scalars |= {f"time/{name}": value for name, value in speeds.items()}
        scalars |= self.health.scalars(segment, self.rollout.state, scalars, step)
        scalars["memory/bytes"] = self.agent.backbone.state_bytes
        if self._by_visits:
            scalars |= task_scalars(rows, self.env)
        self.writer.scalars(scalars, step)
        self.writer.retention(retention_of(history.rows() if self._by_visits else rows, self.env), step)


def _abandoned(episodes: int, steps: int) -> str:
    """Return what is dropped where a run goes on with new episodes, as a sentence."""
    dropped = f"{episodes:,} unfinished, of {steps:,} steps together, are dropped and have no rows"
    return f"new episodes: {dropped if episodes else 'none was unfinished'}; the bits are no longer those of one run"


def _speeds(mark: tuple[float, float, int], steps: int) -> dict[str, float]:
    """Return steps per second, by the clock and by the processor's own, since a mark that `_now` set."""
    wall, cpu, taken = (b - a for a, b in zip(mark, _now(steps), strict=True))
    return {"steps_per_second": taken / max(wall, 1e-9), "steps_per_cpu_second": taken / max(cpu, 1e-9)}


def _now(steps: int) -> tuple[float, float, int]:
    """Return the time by the clock, the processor's own, and the steps so far."""
    return time.monotonic(), time.process_time(), steps


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Record the first SIGINT or SIGTERM in a list; raise KeyboardInterrupt at the second."""
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
