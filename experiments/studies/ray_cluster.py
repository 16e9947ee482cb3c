"""Trials as tasks of a Ray cluster: the function that a process of this machine calls, called by Ray.

All machines must see the study's folder under the same path: a trial whose worker is lost goes on elsewhere from its
last checkpoint. Ray is an extra, and imported when it is asked for.
"""

import importlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from lifelong.agents.durable import writing
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies.processes import Failed, log_of
from lifelong.experiments.studies.trial import Interrupted, Result, Trial, run_trial, write_json

__all__ = ["connect", "run_on_ray", "run_trial_json"]

_ATTEMPTS = 4  # of one trial whose workers are lost
_LOOK = 0.5  # seconds between two looks


def connect(address: str) -> Any:
    """Return the module of Ray, connected to a cluster.

    Args:
        address: `auto`, the cluster that this machine belongs to, or its address; `local` begins one here.

    Raises:
        UserError: if Ray is not installed, or there is no such cluster.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise UserError(f"--ray {address} needs Ray: pip install 'lifelong-rl[ray]' ({error})") from error
    try:
        ray.init(address=address, ignore_reinit_error=True, logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise UserError(
            f"no Ray cluster at {address!r}: {' '.join(str(error).split())}; `ray start --head` begins one, and "
            "--workers runs the same study without"
        ) from error
    return ray


def run_trial_json(text: str) -> str:
    """Run a trial and return its result, both as JSON: what travels between machines.

    Args:
        text: of a `Trial`.

    Returns:
        The result; empty if a signal ended the trial, which goes on from its checkpoint.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    trial = Trial(**json.loads(text))
    if trial.result.exists():
        return trial.result.read_text(encoding="utf-8")
    log = log_of(trial)
    with writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("w") as file:
            content = asdict(run_trial(trial, Console(file=file, width=200)))
    except Interrupted:
        return ""
    write_json(trial.result, content)
    return json.dumps(content)


def run_on_ray(
    trials: Sequence[Trial], ray: Any, watch: Callable[[Sequence[Trial]], None] = lambda running: None
) -> Iterator[tuple[Trial, Result | Failed]]:
    """Run trials as tasks of a cluster and yield each when it ends.

    Args:
        trials: in the order in which they begin.
        ray: the module, connected.
        watch: called about twice a second with the trials that have not ended.

    Raises:
        UserError: if the cluster is gone; what has ended is kept.
        KeyboardInterrupt: on Ctrl-C; tasks end, and go on from their last checkpoints.
    """
    errors = ray.exceptions
    lost = (
        errors.WorkerCrashedError,
        errors.NodeDiedError,
        errors.OutOfMemoryError,
        errors.ObjectLostError,
        errors.TaskCancelledError,
    )
    gone = (ConnectionError, errors.RaySystemError, errors.LocalRayletDiedError, errors.RpcError)
    task = ray.remote(num_cpus=1, max_retries=0)(run_trial_json)
    waiting: dict[Any, Trial] = {}
    attempts: dict[Trial, int] = {}

    def submit(trial: Trial) -> None:
        attempts[trial] = attempts.get(trial, 0) + 1
        waiting[task.remote(json.dumps(asdict(trial)))] = trial

    try:
        for trial in trials:
            submit(trial)
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1, timeout=_LOOK)
            if not done and not ray.is_initialized():
                raise ConnectionError("the connection is closed")
            for one in done:
                trial = waiting[one]
                text: str | None
                try:
                    text, why = ray.get(one), "it was interrupted"
                except lost as error:
                    text, why = "", _first_line(error)
                except errors.RayTaskError as error:
                    text, why = None, _first_line(getattr(error, "cause", None) or error)
                del waiting[one]
                if text:
                    yield trial, Result(**json.loads(text))
                elif text is None or attempts[trial] >= _ATTEMPTS:
                    yield trial, Failed(why)
                else:
                    submit(trial)
            watch(list(waiting.values()))
    except KeyboardInterrupt:
        for one in waiting:
            ray.cancel(one)
        time.sleep(_LOOK)
        raise
    except gone as error:
        raise UserError(
            f"the Ray cluster is gone with {len(waiting)} trials unfinished: {_first_line(error)}; what has ended is "
            "kept, and the same command goes on"
        ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
