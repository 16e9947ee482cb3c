"""Running a study: tuning first, then all trials, on this machine or on a Ray cluster, with the time that is left."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from lifelong.agents.durable import writing
from lifelong.experiments.runs.lock import RunLock
from lifelong.experiments.studies.processes import Failed, lived, run_in_processes
from lifelong.experiments.studies.ray_cluster import connect, run_on_ray
from lifelong.experiments.studies.store import Found
from lifelong.experiments.studies.study import Study
from lifelong.experiments.studies.trial import Result, Trial

__all__ = ["Pace", "duration", "run_study"]

_LINE_EVERY = 30.0  # seconds between two lines of progress

Run = Callable[[Sequence[Trial], Callable[[Sequence[Trial]], None]], Iterator[tuple[Trial, Result | Failed]]]


@dataclass(frozen=True)
class _Executor:
    """Where trials run.

    Args:
        run: yields trials as they end.
        workers: at a time.
    """

    run: Run
    workers: int


@dataclass(frozen=True)
class Pace:
    """Seconds that trials take, training and tests, from those that have ended.

    Args:
        seconds: of each ended trial, by arm.
        steps: of each arm.
    """

    seconds: Mapping[str, Sequence[float]]
    steps: Mapping[str, int]

    def of(self, arm: str) -> float | None:
        """Return the expected seconds of a trial of an arm; None as long as no trial has ended."""
        if own := self.seconds.get(arm):
            return sum(own) / len(own)
        per_step = [second / max(self.steps[arm], 1) for arm, ended in self.seconds.items() for second in ended]
        return self.steps[arm] * sum(per_step) / len(per_step) if per_step else None


def run_study(
    study: Study, console: Console, *, workers: int = 0, ray: str | None = None, any_code: bool = False
) -> int:
    """Run the trials of a study that are missing, and return how many failed.

    Args:
        study: to run.
        console: for progress.
        workers: trials at a time; 0 is one for every core.
        ray: address of a Ray cluster to run on in place of this machine; None is this machine.
        any_code: whether results of other code are kept; else their trials are run again.

    Raises:
        UserError: if another process runs the study, its folder is another study's, or Ray or its cluster is missing.
        KeyboardInterrupt: on Ctrl-C; says how to go on.
    """
    plans = study.plans
    executor = _executor(workers or os.cpu_count() or 1, ray)
    with writing(study.folder):
        study.folder.mkdir(parents=True, exist_ok=True)
    with RunLock(study.folder):
        if said := study.standing:
            console.print(said, soft_wrap=True, highlight=False)
        failed = _tune(study, executor, console, any_code)
        wanted = []
        for plan in plans:
            chosen = study.tuning(plan, any_code=any_code).chosen
            if chosen is None:
                console.print(
                    f"{plan.arm.name}: nothing chosen, tuning trials failed or measure nothing", soft_wrap=True
                )
                failed += not failed
                continue
            if chosen:
                values = ", ".join(f"{name} {value}" for name, value in chosen.items())
                console.print(f"{plan.arm.name}: tuned to {values}", soft_wrap=True, highlight=False, markup=False)
            wanted += study.trials(plan, chosen)
        by_seed = sorted(wanted, key=lambda trial: study.file.seeds.index(trial.seed))  # so that pairs come early
        return failed + _run(study, by_seed, "trials", executor, console, any_code)


def _tune(study: Study, executor: _Executor, console: Console, any_code: bool) -> int:
    """Run the trials of tuning, round by round; return how many failed."""
    failed = 0
    while not failed:
        tuning = [study.tuning(plan, any_code=any_code) for plan in study.plans]
        trials = list(dict.fromkeys(trial for one in tuning for choice in one.choices for trial in choice.trials))
        if not trials:
            return 0
        if all(one.ended for one in tuning):
            console.print(f"{len(trials)} tuning trials finished", highlight=False)
            return 0
        failed = _run(study, trials, "tuning trials", executor, console, any_code)
    return failed


def _executor(workers: int, address: str | None) -> _Executor:
    if address is None:
        return _Executor(lambda trials, watch: run_in_processes(trials, workers, watch), workers)
    ray = connect(address)
    there = int(ray.cluster_resources().get("CPU", 1))
    return _Executor(lambda trials, watch: run_on_ray(trials, ray, watch), there)


def _run(
    study: Study, trials: Sequence[Trial], what: str, executor: _Executor, console: Console, any_code: bool
) -> int:
    """Run those without a result; return how many failed."""
    todo = [trial for trial in trials if study.store.get(trial, any_code=any_code) is None]
    other = [trial for trial in todo if study.store.get(trial, any_code=True) is not None]
    console.print(f"{len(trials)} {what}, {len(trials) - len(todo)} of them finished before", highlight=False)
    if other:
        said = f"{len(other)} are run again, since the code has changed; --any-code keeps their results"
        console.print(said, soft_wrap=True, highlight=False)
    progress = _Progress(study, trials, todo, console, executor.workers)
    failed = 0
    try:
        for trial, result in executor.run(todo, progress.watch):
            if isinstance(result, Failed):
                failed += 1
                progress.tell(f"{trial.label}: failed: {result} (see {trial.run}.log)")
            else:
                found = study.store.add(trial, result)
                progress.ended(trial, found)
    except KeyboardInterrupt as error:
        there = len(trials) - len(todo) + progress.done
        raise KeyboardInterrupt(
            f"interrupted with {there} of {len(trials)} {what} finished; the same command goes on where they stopped"
        ) from error
    if failed:
        console.print(f"{failed} {what} failed; the same command tries them again", highlight=False)
    return failed


class _Progress:
    """Lines of progress."""

    def __init__(
        self, study: Study, trials: Sequence[Trial], todo: Sequence[Trial], console: Console, workers: int
    ) -> None:
        self.workers = workers
        self.console, self.todo, self.done = console, list(todo), 0
        self.running: dict[Trial, float] = {}  # share of its steps that each has trained for
        self.steps = {trial.arm: int(trial.settings["steps"]) for trial in trials}
        before = [study.store.get(trial, any_code=True) for trial in trials]
        self.seconds: dict[str, list[float]] = {}
        for found in filter(None, before):
            self._timed(found)
        self.began = self.told = time.monotonic()

    def _timed(self, found: Found) -> None:
        took = float(found.facts.get("seconds", 0.0)) + float(found.facts.get("tests_seconds", 0.0))
        self.seconds.setdefault(found.arm, []).append(took)

    def ended(self, trial: Trial, found: Found) -> None:
        """Tell that a trial has ended."""
        self.done += 1
        self._timed(found)
        self.todo.remove(trial)
        self.tell(
            f"{trial.label}: {found.facts.get('steps', 0):,} steps in {duration(found.facts.get('seconds', 0.0))}"
        )

    def tell(self, text: str) -> None:
        """Print a line with how far the study is."""
        self.told = time.monotonic()
        of = self.done + len(self.todo)
        parts = [f"{self.done}/{of}", text, self._left()]
        self.console.print("  ".join(filter(None, parts)), soft_wrap=True, highlight=False, markup=False)

    def watch(self, running: Sequence[Trial]) -> None:
        """Print a line now and then."""
        if running and time.monotonic() - self.told >= _LINE_EVERY:
            self.running = {trial: min(lived(trial) / max(self.steps[trial.arm], 1), 1.0) for trial in running}
            shares = (
                f"{trial.label} {f'{share:.0%}' if share < 1 else 'is tested'}" for trial, share in self.running.items()
            )
            self.tell(" · ".join(shares))

    def _left(self) -> str:
        """Return the time left, as far as it can be told."""
        pace = Pace(self.seconds, self.steps)
        expected = [(trial, pace.of(trial.arm)) for trial in self.todo]
        if not self.todo or any(seconds is None for _, seconds in expected):
            return ""
        seconds = sum((1 - self.running.get(trial, 0.0)) * (took or 0.0) for trial, took in expected)
        return f"{duration(seconds / min(max(self.workers, 1), len(self.todo)))} left"


def duration(seconds: float) -> str:
    """Return seconds in words: `41 s`, `12 min`, `3.4 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
