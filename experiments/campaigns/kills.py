"""Trainings that are killed with SIGKILL, at random times and before random changes of the file system, and go on."""

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lifelong.experiments.campaigns.children import changes_of, do_in_child, in_child
from lifelong.experiments.campaigns.lives import KINDS, config_of, differences, elsewhere, go_on, installed, train
from lifelong.experiments.campaigns.trial import Trial
from lifelong.experiments.runs.config import TrainConfig

__all__ = ["kills"]

_MOST = 3  # kills of one training
_AGAIN = 0.4  # probability of another one


def kills(folder: Path, numbers: Sequence[int], seed: int) -> Iterator[Trial]:
    """Yield trials: each training is killed up to three times, goes on, and is compared with one that was not.

    Args:
        folder: for the runs; what is there is removed after each trial.
        numbers: of the trials, shared between the kinds of environment.
        seed: of everything.
    """
    kinds = [kind for kind in KINDS if installed(kind)]
    for place, kind in enumerate(kinds):
        these = [number for number in numbers if number % len(kinds) == place]
        if not these:
            continue
        whole = config_of(kind, folder / f"whole-{place}")
        changes = changes_of(lambda config=whole: train(config))  # type: ignore[misc]
        began = time.monotonic()
        do_in_child(lambda: train(elsewhere(whole, folder / "timed")))  # noqa: B023  it is called at once
        seconds = time.monotonic() - began
        shutil.rmtree(folder / "timed")
        for number in these:
            rng = np.random.default_rng((seed, number))
            config = elsewhere(whole, folder / f"killed-{number}")
            yield _trial(number, kind, config, whole.run, rng, changes, seconds)
            shutil.rmtree(config.run, ignore_errors=True)
        shutil.rmtree(whole.run)


def _trial(
    number: int,
    kind: str,
    config: TrainConfig,
    whole: Path,
    rng: np.random.Generator,
    changes: int,
    seconds: float,
) -> Trial:
    killed = 0
    while True:
        again = killed < _MOST and (not killed or rng.random() < _AGAIN)
        before = int(rng.integers(changes)) if again and rng.random() < 0.5 else None
        after = float(rng.uniform(0, seconds)) if again and before is None else None
        _wait_for_the_next_second(config.run)
        end = in_child(go_on(config), kill_before=before, kill_after=after)
        if end.how == "killed":
            killed += 1
        elif end.how != "done":
            return Trial("kills", kind, number, f"{end.how} after {killed} kills", False, end.said)
        else:
            break
    if other := differences(config.run, whole):
        return Trial("kills", kind, number, "another result", False, "; ".join(other))
    return Trial("kills", kind, number, f"the same bits after {killed} kill{'s' if killed != 1 else ''}", True)


def _wait_for_the_next_second(run: Path) -> None:
    """Wait until event files get a later name: TensorBoard reads them in the order of the second in it."""
    while any(int(path.name.split(".")[3]) >= int(time.time()) for path in run.glob("events.out.tfevents.*")):
        time.sleep(0.02)
