"""Trials as processes of this machine, several at a time.

Each process has one thread of its own and writes to a log in its run's folder. Ctrl-C reaches all of them: they finish
their segment, write a checkpoint, and end; a second one ends them at once.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

from lifelong.agents.durable import writing
from lifelong.experiments.runs.errors import UserError, error_text
from lifelong.experiments.studies.trial import Result, Trial

__all__ = ["Failed", "lived", "log_of", "run_in_processes"]

_LOOK = 0.5  # seconds between two looks at signals
_INTERRUPTED = 128 + signal.SIGINT


class Failed(str):
    """Why a trial failed, in one line."""

    __slots__ = ()


def run_in_processes(
    trials: Sequence[Trial], workers: int, watch: Callable[[Sequence[Trial]], None] = lambda running: None
) -> Iterator[tuple[Trial, Result | Failed]]:
    """Run trials and yield each when it ends.

    Args:
        trials: in the order in which they begin.
        workers: at a time.
        watch: called about twice a second with the trials that run.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM, once the running trials have written their checkpoints.
    """
    running: dict[Trial, subprocess.Popen[bytes]] = {}
    ending = threading.Event()

    def run(trial: Trial) -> Result | Failed:
        return Failed("not begun") if ending.is_set() else _run(trial, running, ending)

    pool = ThreadPoolExecutor(workers)
    waiting: dict[Future[Result | Failed], Trial] = {pool.submit(run, trial): trial for trial in trials}
    try:
        with _terminable():
            while waiting:
                done, _ = wait(waiting, timeout=_LOOK, return_when=FIRST_COMPLETED)
                for future in done:
                    yield waiting.pop(future), future.result()
                watch([trial for trial in trials if trial in running])
    except BaseException:
        ending.set()
        _end(running)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def lived(trial: Trial) -> int:
    """Return the environment steps that a running trial has trained for, as far as its log tells."""
    try:
        text = log_of(trial).read_text(errors="replace", encoding="utf-8")
    except OSError:
        return 0
    told = re.findall(r"^([\d,]+) of [\d,]+ steps", text, re.MULTILINE)
    return int(told[-1].replace(",", "")) if told else 0


def log_of(trial: Trial) -> Path:
    """Return the file of what a trial's process writes; beside its run, which must be born whole."""
    return trial.run.parent / f"{trial.name}.log"


def _run(trial: Trial, running: dict[Trial, "subprocess.Popen[bytes]"], ending: threading.Event) -> Result | Failed:
    """Run a trial in a process of its own."""
    if not trial.result.exists():
        log = log_of(trial)
        with writing(log):
            log.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-P", "-m", "lifelong.experiments.studies.trial", json.dumps(asdict(trial))]
        with (
            log.open("w") as file,
            subprocess.Popen(  # noqa: S603
                words,
                stdin=subprocess.PIPE,  # it ends when this process does
                stdout=file,
                stderr=file,
                env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
                start_new_session=True,  # Ctrl-C is passed on below, once
            ) as process,
        ):
            running[trial] = process
            if ending.is_set():  # since it was looked at
                process.send_signal(signal.SIGTERM)
            try:
                code = process.wait()
            finally:
                del running[trial]
        if ending.is_set() or code == _INTERRUPTED:
            return Failed("interrupted")
        if code or not trial.result.exists():
            last = log.read_text(errors="replace", encoding="utf-8").strip().splitlines()[-1:]
            ended = f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            return Failed(f"{ended}: {last[0]}" if last else ended)
    try:
        return Result(**json.loads(trial.result.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        said = f"{trial.result} is no result of a trial: {error_text(error)}; remove it to have it tried again"
        raise UserError(said) from error


def _end(running: dict[Trial, "subprocess.Popen[bytes]"]) -> None:
    """Let the running trials write their checkpoints, and wait for them; a second Ctrl-C ends them at once."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
        processes = list(running.values())
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        try:
            for process in processes:
                process.wait()
        except KeyboardInterrupt:
            continue
        return


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
