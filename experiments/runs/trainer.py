"""Trainer: env, agent and learner of a run, the loop over segments, and what is written on the way."""

import json
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from traceback import clear_frames, format_exception
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from rich.console import Console

from lifelong.agents import Rollout, Segment, join_rows
from lifelong.agents.checkpoint import has_checkpoint, restore_optimizer, set_damaged_aside
from lifelong.agents.durable import WriteError
from lifelong.envs import StreamError
from lifelong.envs.stream import ROW
from lifelong.experiments.metrics.gain import scores
from lifelong.experiments.metrics.matrix import performance_matrix
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.build import make_agent, make_learner
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.carried_on import CarriedOn, carry_on
from lifelong.experiments.runs.checkpoints import Checkpoints
from lifelong.experiments.runs.config import TrainConfig, lives_of_minibatch, options
from lifelong.experiments.runs.directory import Captured, capture, parameter_names, restore
from lifelong.experiments.runs.episodes import FROZEN, EpisodeLog, read_episodes
from lifelong.experiments.runs.errors import TrainingError, UserError
from lifelong.experiments.runs.evaluation import evaluate_frozen, training_horizon
from lifelong.experiments.runs.facts import config_facts
from lifelong.experiments.runs.going_on import go_on
from lifelong.experiments.runs.guard import first_not_finite, memory_fault
from lifelong.experiments.runs.health import Health
from lifelong.experiments.runs.lives import how_lives_end, last_empty_memory
from lifelong.experiments.runs.lock import RunLock
from lifelong.experiments.runs.loggers import Loggers, check_loggers
from lifelong.experiments.runs.machine_limits import check_threads, check_workers
from lifelong.experiments.runs.matrix import matrix_scalars, plot_matrix
from lifelong.experiments.runs.new_run import NewRun
from lifelong.experiments.runs.open_run import LAST
from lifelong.experiments.runs.process import resident_bytes
from lifelong.experiments.runs.progress import Progress
from lifelong.experiments.runs.recent_rows import RecentRows
from lifelong.experiments.runs.replacing import remove_replaced
from lifelong.experiments.runs.signals import Signals, Stopped
from lifelong.experiments.runs.summary import Summary, recent_scalars, retention_of, summarise, task_scalars
from lifelong.experiments.runs.surface import plot_surface, surface_of
from lifelong.experiments.runs.task_evaluation import TaskEvaluation
from lifelong.experiments.runs.tensorboard import final_scalars, learning_scalars
from lifelong.experiments.runs.told import check_told
from lifelong.experiments.runs.trusted import with_trust

__all__ = ["Trainer"]

_REPORT_EVERY = 5.0  # seconds between two looks at the rows for TensorBoard
_REFUSED = 3  # updates in a row that are not finite, and training stops
_LIVED = 2  # segments of a new run before it replaces another


class Trainer:
    """Trains the agent of one run and writes its logs and checkpoints.

    Args:
        config: with every setting resolved.
        resumed: go on from the run's checkpoint; from the beginning if it was stopped before the first.
        console: where progress goes.
        report_steps: environment steps between two reports to TensorBoard, so that two trainings can be compared; if
            not given, reports fall by the clock.
        new_episodes: of a resumed run: abandon the unfinished episodes, and begin the next ones.
        waits: whether a new run gets its name with the first `checkpoint` only.
        clock: by which `seconds` and speeds are counted.

    Raises:
        UserError: if the run exists and may not be replaced, or another process writes to it.
        CheckpointError: if it cannot be resumed.
    """

    def __init__(
        self,
        config: TrainConfig,
        resumed: bool,
        console: Console,
        *,
        report_steps: int | None = None,
        new_episodes: bool = False,
        waits: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        check_threads(config.threads or 1)
        check_workers(config.env_workers or 0)
        torch.set_num_threads(config.threads or 1)
        self.config, self.console, self.report_steps = config, console, report_steps
        check_loggers(config.log)
        self.env = make_env(config)
        check_told(config, self.env)
        self.agent = make_agent(config, self.env)
        self.learner = make_learner(config, self.agent)
        self.rollout = Rollout(self.agent, self.env, config.carry, cuda_graph=config.cuda_graph)
        self.evaluation = TaskEvaluation(config, self.env)
        self.tasks = [task.name for task in self.env.tasks]
        self.new = None if resumed else NewRun(config, self.agent, waits=waits)
        self.folder = self.new.folder if self.new is not None else config.run
        self._lock = self.new.lock if self.new is not None else RunLock(self.folder)
        try:
            self._open(new_episodes)
        except BaseException:
            self._lock.release() if self.new is None else self.new.discard()
            raise

    def _open(self, new_episodes: bool) -> None:
        """Restore the checkpoint, if there is one, and open the logs."""
        config = self.config
        if self.new is None:
            remove_replaced(self.folder)
        self.log = EpisodeLog(self.folder, "train", tasks=self.tasks)
        facts = self._restored(new_episodes) if self.new is None else {}
        self.new_episodes: list[int] = facts.get("new_episodes", [])
        """Steps at which a resumed run began new episodes."""
        if "abandoned" in facts:
            self.new_episodes.append(self.rollout.steps)
            self.console.print(_abandoned(*facts["abandoned"]), soft_wrap=True, markup=False, highlight=False)
        self.learning_rate = go_on(self.folder, config, self.rollout.steps, console=self.console)
        self.resumed = bool(facts)
        """Whether it goes on from a checkpoint."""
        self.health = Health(
            self.learner, config.steps or 0, always=self.report_steps is not None, resumed=self.resumed
        )
        self.checkpoints = Checkpoints(config.checkpoint_every, config.keep)
        self._signals = Signals(lambda text: self.console.print(text, soft_wrap=True))
        self._of_config = config_facts(config)
        self.whole: Captured | None = None
        """The training as it was between the last two segments."""
        self.refused_in_a_row, self.refused = facts.get("refused", (0, 0))
        """Updates of which something was not finite: the last ones, and all."""
        self.seconds: float = facts.get("seconds", 0.0)
        self.mean_length: float = facts.get("mean_length", 1.0)
        self.last_empty_memory = last_empty_memory(config, facts) if self.resumed else 0
        self.reported: dict[str, int] = facts.get(
            "reported", {"steps": self.rollout.steps, "rows": facts.get("rows", 0)}
        )
        """Steps and rows at the last report to the loggers."""
        self._by_visits = self.env.retention == "gain"  # a curve of visits, longer than what is recent
        self.log.truncate(facts.get("rows", 0))
        for fault in self.log.damaged():
            warnings.warn(f"{fault}; the run goes on without these rows, and whoever reads it is told", stacklevel=2)
        self.evaluation.restore(facts)
        self.evaluation_log = EpisodeLog(self.folder, config.evaluate_mode, tasks=self.tasks)
        self.evaluation_log.truncate(facts.get("evaluation_rows", 0))
        self._evaluated: list[Rows] = []
        if self.evaluation_log.rows:
            self._evaluated.append(read_episodes(self.folder, [config.evaluate_mode], [*ROW, "train_step"]))
        self.writer = Loggers(
            config.log,
            self.folder,
            config.to_json(),
            self.rollout.steps if self.resumed else None,
            facts.get("logged") if self.resumed or self.new is not None else {},
            reason=facts.get("no_curve", ""),
            waits=self.new is not None and self.new.waits,
            on_error=config.on_log_error,
        )

    def _restored(self, new_episodes: bool) -> dict[str, Any]:
        """Restore the checkpoint and return its facts; none of a run that was stopped before the first was written."""
        if has_checkpoint(self.folder / LAST) or self.log.rows:
            kwargs, live = options(self.config.env_kwargs), (self.rollout, self.env, self.learner)
            facts = restore(self.folder, *live, env_kwargs=kwargs, new_episodes=new_episodes)
            set_damaged_aside(self.folder / LAST, Path(facts["checkpoint"]))
            said = f"goes on from {facts['checkpoint']}, {self.rollout.steps:,} steps"
        else:
            facts, said = {}, f"{self.folder} was stopped before its first checkpoint: it begins anew"
        self.console.print(said, soft_wrap=True, markup=False, highlight=False)
        return facts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        broken = isinstance(error, StreamError) and bool(error.report)  # how is kept
        not_started = self.new is not None and (self.new.waits or not self.rollout.steps)
        try:
            with ExitStack() as stack:  # each is closed even if another cannot be
                if error is not None:  # what ended training is said, not what could not be closed then
                    stack.enter_context(suppress(Exception))
                if self.new is not None and error is not None and not_started and not broken:
                    stack.callback(self.new.discard)  # nothing was lived: as if it had never begun
                else:
                    stack.callback(self._lock.release if self.new is None else self.new.leave)
                logs = (self.writer, self.evaluation, self.evaluation_log, self.log)
                for close in (self.env, self.learner, *logs, self.checkpoints):
                    stack.callback(close.close)
        except WriteError as failed:
            error = failed
        if isinstance(error, WriteError) and self.rollout.steps:  # after training
            again = f"go on with: lifelong train --resume {self.folder}"
            raise UserError(f"{error}; {self._whole_checkpoint(error)}; {again}") from error

    def train(self) -> bool:
        """Collect and learn until the steps are done or a signal interrupts; return whether they are done.

        Raises:
            StreamError: if an environment broke.
            UserError: if a file could not be written.
            TrainingError: if training failed otherwise.
            Stopped: if a signal stopped it at once. In all three cases there is a checkpoint from before the segment,
                and the message says how to go on.
        """
        with self._signals:
            try:
                done = self._train()
                self._signals.check()
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                ended = self._rescued(error)
                if ended is error:
                    raise
                raise ended from error
        return done

    def _train(self) -> bool:
        config, rollout, signals = self.config, self.rollout, self._signals
        assert config.steps is not None  # noqa: S101  resolved
        assert config.segment is not None  # noqa: S101
        recent, history = self._not_reported()
        learned: dict[str, float] = {}  # of the last update that was not refused
        mark = self._now()
        self.checkpoints.start(rollout.steps)
        if self.evaluation.refusal:
            self.console.print(
                f"the tasks are not evaluated during training: {self.evaluation.refusal}", soft_wrap=True, markup=False
            )
        self.console.print(how_lives_end(self.env), soft_wrap=True, markup=False)
        if (config.processes or 1) > (lives := lives_of_minibatch(config)):
            said = f"{lives} processes learn, not {config.processes}: a minibatch has {lives} lives"
            self.console.print(said, soft_wrap=True, highlight=False)
        if not self.resumed:
            self.console.print(self.agent.encoder.describe(), soft_wrap=True, markup=False, highlight=False)
        with Progress(config.steps, rollout.steps, self.console, self.clock) as progress:
            if not self.resumed:
                if self.evaluation.due_at_start():
                    self.evaluate_tasks()
                self._capture()
                self._write()  # a run that breaks before the next one can still go on, from its beginning
            else:
                self._capture()
            while rollout.steps < config.steps and not signals.end():
                began = self.clock()
                with signals.stoppable():
                    segment = rollout.collect(config.segment)
                    fresh = self._learn(segment)
                if fresh is not None:
                    learned = fresh
                    self.health.learning.observe(segment)
                if bool(segment.steps["start"].any()):
                    self.last_empty_memory = rollout.steps - segment.steps["start"].numel()
                if segment.episodes:
                    self.log.append(segment.episodes)
                    recent.append(segment.episodes)
                    if self._by_visits:
                        history.append(segment.episodes)
                    self.mean_length = float(segment.episodes["length"].mean())
                progress.update(rollout.steps, segment.episodes)
                self.seconds += self.clock() - began
                waited, lived = self.clock() - mark[0], rollout.steps - self.reported["steps"]
                due = lived >= self.report_steps if self.report_steps else waited > _REPORT_EVERY
                if learned and (due or rollout.steps >= config.steps):
                    self._report(segment, recent, history, learned, _speeds(mark, self._now()))
                    self.reported = {"steps": rollout.steps, "rows": self.log.rows}
                    recent, mark = [], self._now()
                if self.evaluation.due(rollout.steps, segment.episodes):
                    self.evaluate_tasks()
                self._capture()
                if self.new is not None and self.new.waits and self._has_lived():
                    self._settle()
                if rollout.steps < config.steps and not signals.end() and self.checkpoints.due(rollout.steps):
                    self._write_in_background()
                del segment  # before the next one is collected: of images it may be hundreds of megabytes
            if rollout.steps >= config.steps:
                if self.evaluation.due_at_end(rollout.steps):
                    self.evaluate_tasks()
                elif self.evaluation.on and not self.evaluation.evaluated:
                    said = "the tasks were not evaluated, since that takes more than 5 % of the steps"
                    self.console.print(f"{said}: --evaluate-every boundary does it all the same", soft_wrap=True)
            self._settle()
            self._capture()
            self._write()
        return rollout.steps >= config.steps

    def _learn(self, segment: Segment) -> dict[str, float] | None:
        """Learn from a segment; None if something was not finite: then weights, moments and normalisers stay.

        Raises:
            FloatingPointError: if that happened several times in a row, or a memory is not finite, which none becomes
                again.
        """
        lr_fraction = self.learning_rate.at(self.rollout.steps)
        fault = memory_fault(self.rollout.state)
        try:
            if fault is not None:
                raise FloatingPointError(f"memory must be finite, {fault[1]} is not")
            learned = self.learner.learn(segment, lr_fraction)
        except FloatingPointError as error:
            self._refuse(segment, error, None if fault is None else fault[0])
            return None
        self.refused_in_a_row = 0
        return learned | {"lr": self.config.learning.lr * lr_fraction}

    def _refuse(self, segment: Segment, error: FloatingPointError, slot: int | None) -> None:
        """Undo an update, and say so; raise if that is the last in a row."""
        assert self.whole is not None  # noqa: S101  it was captured before the segment
        parts, step, learner = self.whole.parts, self.rollout.steps, self.learner
        learner.policy.load_state_dict(parts["policy"])
        moments = {name: x.clone() for name, x in parts["optimizer"].items()}
        restore_optimizer(learner.optimizer, moments, parameter_names(learner.policy))
        if learner.return_scale is not None:
            learner.return_scale.load_state_dict(parts["return_scale"])
        self.refused_in_a_row += 1
        self.refused += 1
        of_memory = slot is not None
        slot = first_not_finite(segment) if slot is None else slot
        where = "" if slot is None else f", in slot {slot} of life {self.env.life[slot]}"
        said = f"the update of step {step:,} was refused: {error}{where}"
        self.console.print(f"{said}; weights stay as before it", soft_wrap=True, markup=False, highlight=False)
        self.writer.scalars({"train/refused_updates": self.refused}, step)
        if of_memory or self.refused_in_a_row >= _REFUSED:
            many = "" if of_memory else f", as were {self.refused_in_a_row - 1} before it"
            ppo = self.config.learning
            remedy = (
                f"a new run with a lower --lr (here {ppo.lr:g}) or --max-grad-norm ({ppo.max_grad_norm:g}) may help"
            )

            raise FloatingPointError(f"{said}{many}; {remedy}") from error

    def _now(self) -> tuple[float, float, int]:
        """Return the time by the clock, the processor's own, and the steps so far."""
        return self.clock(), time.process_time(), self.rollout.steps

    def _not_reported(self) -> tuple[list[Rows], RecentRows]:
        """Return the rows since the last report, and those of which curves are made that are longer than a report.

        Both are as they were when the checkpoint was written from which the run goes on.
        """
        recent, history = list[Rows](), RecentRows()
        if not self.log.rows:
            return recent, history
        if self.log.rows > self.reported["rows"]:
            recent.append(self.log.since(self.reported["rows"]))
        if self._by_visits:  # segment by segment, as they came
            rows = self.log.since(0)
            ends = np.flatnonzero(np.diff((rows["step"] - 1) // (self.env.num_envs * (self.config.segment or 1)))) + 1
            for first, last in pairwise([0, *ends.tolist(), self.log.rows]):
                history.append({name: column[first:last] for name, column in rows.items()})
        return recent, history

    def _has_lived(self) -> bool:
        """Return whether a new run has shown that it works: numbers that are not finite are met in the next segment."""
        lived = self.rollout.steps >= _LIVED * self.env.num_envs * (self.config.segment or 1)
        return lived and not self.refused_in_a_row

    def _settle(self) -> None:
        """Give a new run its name, in place of the run that it replaces."""
        if self.new is None or not self.new.waits:
            return
        self._flush()
        self.new.settle()
        self.folder = self.new.folder
        self.log.move(self.folder)
        self.evaluation_log.move(self.folder)
        self.writer.open(self.folder)

    def checkpoint(self) -> None:
        """Write a checkpoint of everything up to here."""
        self._capture()
        self._write()
        self._settle()

    def _capture(self) -> None:
        """Keep everything as it is now, between two segments."""
        facts: dict[str, Any] = {"rows": self.log.rows, "seconds": self.seconds, "mean_length": self.mean_length}
        facts |= {"last_empty_memory": self.last_empty_memory, "reported": self.reported, "logged": self.writer.sizes()}
        facts |= {"no_curve": self.writer.reason} | self._of_config
        if self.config.env_kwargs:
            facts["env_kwargs"] = options(self.config.env_kwargs)
        if self.new_episodes:
            facts["new_episodes"] = self.new_episodes
        if self.refused:
            facts["refused"] = [self.refused_in_a_row, self.refused]
        if self.evaluation.copies is not None:
            facts |= self.evaluation.facts() | {"evaluation_rows": self.evaluation_log.rows}
        self.whole = capture(self.rollout, self.env.snapshot(), self.learner, facts)

    def _flush(self) -> None:
        """Write rows and scalars down; a checkpoint counts them, so they come first."""
        self.log.flush()
        self.evaluation_log.flush()
        self.writer.sync()

    def _write(self) -> None:
        """Write what was kept last as a checkpoint."""
        assert self.whole is not None  # noqa: S101  the caller's business
        self._flush()
        self.checkpoints.write(self.folder, self.whole)

    def _write_in_background(self) -> None:
        """Write what was kept last as a checkpoint while training goes on."""
        assert self.whole is not None  # noqa: S101  the caller's business
        began = time.monotonic()
        self._flush()
        self.checkpoints.begin(self.folder, self.whole, began)

    def _rescued(self, error: BaseException) -> BaseException:
        """Write the state from before the segment, and return the error that says so.

        Args:
            error: that ended training; it is returned if nothing was lived, so that there is nothing to say.
        """
        report = error.report if isinstance(error, StreamError) else {}
        if self.new is not None and not self.rollout.steps and not report:
            return (
                _stopped(error, "nothing was lived, so nothing is kept")
                if isinstance(error, KeyboardInterrupt)
                else error
            )
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            clear_frames(error.__traceback__)  # what they hold is needed to write
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        said = "; ".join(self._rescue(error))
        if isinstance(error, WriteError):
            return UserError(f"{error}; {said}")
        if isinstance(error, KeyboardInterrupt):
            return _stopped(error, said)
        if isinstance(error, StreamError):
            return StreamError(f"{error}; {said}", error.report)
        return TrainingError(f"training failed after {self.rollout.steps:,} steps: {text}; {said}")

    def _rescue(self, error: BaseException) -> Iterator[str]:
        """Write the state from before the segment, and why it is needed; yield what is kept, in words."""
        replaces = self.new is not None and self.new.replaces
        if isinstance(error, StreamError) or not (isinstance(error, KeyboardInterrupt | WriteError) or replaces):
            path = self.folder / "crash.json"
            report = error.report if isinstance(error, StreamError) else {"traceback": format_exception(error)}
            try:
                path.write_text(json.dumps({"error": str(error), **report}, indent=1) + "\n", encoding="utf-8")
            except OSError as failed:
                yield f"cannot write {path}: {failed.strerror}"
            else:
                yield f"see {path if replaces else 'its crash.json'}"
        if self.new is not None and replaces:
            yield f"run {self.new.final} stays as it was"
            return
        try:
            with suppress(Exception):  # this one decides
                self.checkpoints.wait()
            self._write()
        except Exception as failed:  # noqa: BLE001  whatever it is, there is an earlier one
            if not isinstance(error, WriteError):
                yield f"the last step cannot be kept: {failed}"
        yield self._whole_checkpoint(error)
        again = ", and --new-episodes if it breaks again" if isinstance(error, StreamError) else ""
        yield f"go on with: lifelong train --resume {self.folder}{with_trust(self.config)}{again}"

    def _whole_checkpoint(self, error: BaseException) -> str:
        """Return which checkpoint there is, in words."""
        kept = self.checkpoints.written
        if kept is None:
            return "its checkpoint is as it was"
        if isinstance(error, WriteError):
            return f"the checkpoint of step {kept.steps:,} is whole"
        return f"its checkpoint is of step {kept.steps:,}"

    def evaluate_tasks(self) -> None:
        """Evaluate copies of the living agent on every task, and write their rows and the performance matrix."""
        step = self.rollout.steps
        try:
            with self._signals.stoppable():
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
        scalars = learning_scalars(learned) | (recent_scalars(rows, self.env) if recent else {})
        scalars["charts/reward_per_step"] = float(segment.steps["next", "reward"].mean())
        scalars |= {"charts/SPS": speeds["steps_per_second"], "time/resident_bytes": resident_bytes()}
        scalars |= {f"time/{name}": value for name, value in speeds.items()}
        scalars |= self.health.scalars(segment, self.rollout.state, scalars, step)
        scalars["memory/bytes"] = self.agent.backbone.state_bytes
        if self._by_visits and recent:
            scalars |= task_scalars(rows, self.env)
        self.writer.scalars(scalars, step)
        self.writer.retention(retention_of(history.rows() if self._by_visits else rows, self.env), step)


def _abandoned(episodes: int, steps: int) -> str:
    """Return what is dropped where a run goes on with new episodes, as a sentence."""
    dropped = f"{episodes:,} unfinished, of {steps:,} steps together, are dropped and have no rows"
    return f"new episodes: {dropped if episodes else 'none was unfinished'}; the bits are no longer those of one run"


def _stopped(error: KeyboardInterrupt, said: str) -> Stopped:
    """Return the error of a signal, with what is kept."""
    number = error.number if isinstance(error, Stopped) else signal.SIGINT
    return Stopped(number, f"stopped by {signal.Signals(number).name}; {said}")


def _speeds(mark: tuple[float, float, int], now: tuple[float, float, int]) -> dict[str, float]:
    """Return steps per second, by the clock and by the processor's own, between two marks of `Trainer._now`."""
    wall, cpu, taken = (b - a for a, b in zip(mark, now, strict=True))
    return {"steps_per_second": taken / max(wall, 1e-9), "steps_per_cpu_second": taken / max(cpu, 1e-9)}
