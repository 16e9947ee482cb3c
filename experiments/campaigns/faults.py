"""File systems that refuse: each verb that writes meets an error of the operating system at one of its changes."""

import errno
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lifelong.experiments.campaigns.children import changes_of, do_in_child, fail_at, in_child
from lifelong.experiments.campaigns.lives import config_of, differences, elsewhere, go_on, reads, train
from lifelong.experiments.campaigns.trial import Trial

__all__ = ["ERRORS", "faults"]

ERRORS = ("ENOSPC", "EROFS", "EACCES", "EIO", "EMFILE", "ENAMETOOLONG", "EDQUOT", "ESTALE", "ENOENT", "a full file")
"""Errors of the operating system, and a limit of the size of files, at which writing itself fails."""
_KIND = "cued-recall"


def faults(folder: Path, numbers: Sequence[int], seed: int) -> Iterator[Trial]:
    """Yield trials: a verb that meets an error ends in one line that names the file; nothing is lost by it.

    Args:
        folder: for the runs; what is there is removed after each trial.
        numbers: of the trials.
        seed: of the errors.
    """
    whole = config_of(_KIND, folder / "whole")
    do_in_child(lambda: train(whole))
    number_of = {"train": changes_of(go_on(elsewhere(whole, folder / "counted")))}
    for verb in ("report", "retention"):
        number_of[verb] = changes_of(reads(verb, folder / "counted"))
    shutil.rmtree(folder / "counted")
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        name = ERRORS[number % len(ERRORS)]
        verb = ("train", "train", "report", "retention")[int(rng.integers(4))]
        config = elsewhere(whole, folder / f"run-{number}")
        if verb != "train":
            shutil.copytree(whole.run, config.run)
        work = go_on(config) if verb == "train" else reads(verb, config.run)
        at = int(rng.integers(number_of[verb]))
        size = int(rng.integers(1, 20_000))
        end = in_child(_limited(work, size) if name == ERRORS[-1] else _failing(work, name, at), limit=60)
        kind = f"{verb}, {name}"
        if end.how not in ("done", "refused"):
            yield Trial("faults", kind, number, end.how, False, end.said[-500:])
        else:
            again = in_child(go_on(config), limit=60)
            lost = again.said[-500:] if again.how != "done" else "; ".join(differences(config.run, whole.run))
            outcome = "one line" if end.how == "refused" else "not met"
            yield Trial(
                "faults", kind, number, f"{outcome}, then {'lost' if lost else 'the same bits'}", not lost, lost
            )
        shutil.rmtree(config.run, ignore_errors=True)
    shutil.rmtree(whole.run)


def _failing(work: Callable[[], object], name: str, at: int) -> Callable[[], object]:
    """Return `work` whose change number `at` of the file system fails."""
    number = getattr(errno, name)

    def failing() -> object:
        fail_at(at, lambda path: OSError(number, os.strerror(number), path))
        return work()

    return failing


def _limited(work: Callable[[], object], size: int) -> Callable[[], object]:
    """Return `work` in a process whose files may have so many bytes: larger writes fail."""

    def limited() -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            return work()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            sys.stdout.flush()

    return limited
