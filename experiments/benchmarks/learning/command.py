"""`lifelong bench learning`: learning curves and final returns of our agents beside other libraries'.

    pip install 'lifelong-rl[bench]'
    lifelong bench learning                                         all tasks, hours to days
    lifelong bench learning CartPole-v1 CartPoleNoVel-v1 --agents gru sb3-recurrent-ppo --processes 2
    lifelong bench learning --report-only                           tables and figure from the results that are there

Every trial, an agent with a seed in a task, is a process of its own and writes one JSON file. The same command goes on
with the trials that are missing; one that failed is tried again.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from rich.console import Console

from lifelong.agents.durable import writing
from lifelong.experiments.benchmarks.learning.others import OTHERS
from lifelong.experiments.benchmarks.learning.ours import config_of
from lifelong.experiments.benchmarks.learning.report import CURVES, PAGE, read_result, write_report
from lifelong.experiments.benchmarks.learning.tasks import TASKS
from lifelong.experiments.benchmarks.learning.trial import Trial
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.experiments.runs.seed_ranges import parse_seeds
from lifelong.experiments.settings.benchmarks.learning import BenchConfig
from lifelong.memory import make_memory

__all__ = ["BenchConfig", "command", "main"]


def command(config: BenchConfig) -> None:
    """Run the subject.

    Raises:
        SystemExit: with code 1 if a trial failed.
    """
    if main(config, Console(stderr=True)):
        raise SystemExit(1)


def main(config: BenchConfig, console: Console | None = None) -> int:
    """Run the trials that are missing, write the report, and return how many trials failed.

    Args:
        config: settings.
        console: for progress; None for silence.

    Raises:
        UserError: if there is no such task or agent, something is not installed, the output has results of other
            steps, or there is nothing to report.
    """
    console = console or Console(quiet=True)
    failed = 0 if config.report_only else _run_missing(_trials(config), config, console)
    if failed and not any((config.output / "trials").glob("*.json")):
        return failed
    with writing(config.output):
        write_report(config.output)
    for name in (PAGE, CURVES):
        console.print(f"wrote {config.output / name}", markup=False, highlight=False, soft_wrap=True)
    return failed


def _trials(config: BenchConfig) -> list[Trial]:
    """Return all trials, finished ones among them, seed by seed; validate them."""
    names, seeds = dict.fromkeys(config.tasks or TASKS), parse_seeds(config.seeds)
    for agent in config.agents:
        _check_agent(agent)
    for name in names:
        _check_installed(f"task {name}", TASKS[name].needs)
    where = str(config.output), str(config.runs)
    trials = [
        Trial(task, agent, seed, config.steps or TASKS[task].steps, *where)
        for seed, task, agent in product(seeds, names, dict.fromkeys(config.agents))
    ]
    asked = {trial.task: trial.steps for trial in trials}
    for path in sorted((config.output / "trials").glob("*.json")):  # other agents and seeds of these tasks too
        there = read_result(path)
        steps, wanted = there["asked_steps"], asked.get(there["task"])
        if wanted is not None and steps != wanted:
            raise UserError(
                f"{path} is of steps={steps}, asked are steps={wanted}: take --steps {steps}, or another --output"
            )
    return trials


def _check_agent(agent: str) -> None:
    if agent in OTHERS:
        _check_installed(f"agent {agent}", ("stable_baselines3", "sb3_contrib"))
        return
    with as_user_error():
        make_memory(agent.partition("/")[0], 8)
    config_of("CartPole-v1", agent, 1, 0, Path("runs"))


def _check_installed(what: str, modules: Sequence[str]) -> None:
    if missing := [name for name in modules if find_spec(name) is None]:
        raise UserError(f"{what} needs {', '.join(missing)}: pip install 'lifelong-rl[bench]'")


def _run_missing(trials: Sequence[Trial], config: BenchConfig, console: Console) -> int:
    """Run the trials without a result, several at a time; return how many failed."""
    todo = [trial for trial in trials if not trial.path.exists()]
    console.print(f"{len(trials)} trials, {len(trials) - len(todo)} of them finished before", highlight=False)
    failed = 0
    pool = ThreadPoolExecutor(config.processes)
    try:
        waiting = {pool.submit(_run_process, trial): trial for trial in todo}
        for number, future in enumerate(as_completed(waiting), 1):
            trial, reason = waiting[future], future.result()
            failed += bool(reason)
            said = f"failed: {reason} (see {trial.log})" if reason else _told(trial)
            line = f"{number}/{len(todo)}  {trial.task}  {trial.agent}  seed {trial.seed}:  {said}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    finally:
        pool.shutdown(cancel_futures=True)
    if failed:
        console.print(f"{failed} trials failed; the same command tries them again", highlight=False)
    return failed


def _run_process(trial: Trial) -> str:
    """Run a trial in a process of its own; return why it failed, empty if it did not."""
    with writing(trial.log):
        trial.log.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-P", "-m", "lifelong.experiments.benchmarks.learning.trial", json.dumps(asdict(trial))]
    with trial.log.open("w") as log:
        ended = subprocess.run(  # noqa: S603
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
    if ended.returncode == 0 and trial.path.exists():
        return ""
    last = trial.log.read_text(errors="replace", encoding="utf-8").strip().splitlines()[-1:]
    return last[0] if last else f"exit code {ended.returncode}"


def _told(trial: Trial) -> str:
    result = read_result(trial.path)
    drawn, greedy = (sum(map(sum, result[kind])) / sum(map(len, result[kind])) for kind in ("drawn", "greedy"))
    return f"drawn {drawn:.4g}, greedy {greedy:.4g} in {result['seconds']:.0f} s"
