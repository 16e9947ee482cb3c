"""Files of a run that are damaged, and what the verbs that read them do then."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lifelong.experiments.campaigns.children import End, changes_of, do_in_child, in_child
from lifelong.experiments.campaigns.lives import config_of, differences, elsewhere, go_on, reads, train
from lifelong.experiments.campaigns.trial import Trial

__all__ = ["damages"]

Rng = np.random.Generator
_KIND = "cued-recall"
_ODD: tuple[Any, ...] = (None, True, -1, 0, 1e400, 10**30, "", "x", "nan", [], {}, [[[]]], "a.b:c", "9" * 400)
_LIMIT = 30  # seconds


def _flip(path: Path, rng: Rng) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def _shorten(path: Path, rng: Rng) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(len(data)))] if data else b"")


def _lengthen(path: Path, rng: Rng) -> None:
    path.write_bytes(path.read_bytes() + rng.bytes(int(rng.integers(1, 64))))


def _replace(path: Path, rng: Rng) -> None:
    path.write_bytes(rng.bytes(int(rng.integers(1, 4096))))


def _remove(path: Path, rng: Rng) -> None:
    path.unlink()


def _folder(path: Path, rng: Rng) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, rng: Rng) -> None:
    path.unlink()
    os.mkfifo(path)


def _endless(path: Path, rng: Rng) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _of_another(path: Path, rng: Rng) -> None:
    others = sorted(other for other in path.parent.iterdir() if other.is_file() and other != path)
    if others:
        shutil.copy(others[int(rng.integers(len(others)))], path)


def _value(path: Path, rng: Rng) -> None:
    """Change, add or remove a value of a JSON file; another file gets a flipped bit."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        _flip(path, rng)
        return
    inner = content
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            return
        key = keys[int(rng.integers(len(keys)))]
        if not isinstance(inner[key], dict | list) or not inner[key] or rng.random() < 0.2:
            break
        inner = inner[key]
    chance = rng.random()
    if chance < 0.1:
        del inner[key]
    elif chance < 0.2 and isinstance(inner, dict):
        inner["odd"] = 1
    else:
        inner[key] = _ODD[int(rng.integers(len(_ODD)))]
    path.write_text(json.dumps(content), encoding="utf-8")


HARMS: tuple[Callable[[Path, Rng], None], ...] = (
    _flip, _flip, _shorten, _lengthen, _replace, _remove, _folder, _pipe, _endless, _of_another, _value, _value, _value,
)  # fmt: skip


def damages(folder: Path, numbers: Sequence[int], seed: int) -> Iterator[Trial]:
    """Yield trials: a file of an interrupted training is damaged; then the training goes on, is measured or reported.

    Good is an error of one line, or the result that comes without the damage; a training may also begin anew from an
    earlier checkpoint, since that ends in the same bits.

    Args:
        folder: for the runs; what is there is removed after each trial.
        numbers: of the trials.
        seed: of the damages.
    """
    whole = config_of(_KIND, folder / "whole")
    do_in_child(lambda: train(whole))
    half = elsewhere(whole, folder / "half")
    in_child(go_on(half), kill_before=changes_of(lambda: train(elsewhere(whole, folder / "counted"))) * 2 // 3)
    shutil.rmtree(folder / "counted")
    finished = folder / "finished"
    shutil.copytree(whole.run, finished)
    wanted = {verb: _words(in_child(reads(verb, finished))) for verb in ("retention", "report")}
    shutil.rmtree(finished)
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        verb = ("resume", "retention", "report")[int(rng.integers(3))]
        source = half.run if verb == "resume" else whole.run
        config = elsewhere(whole, folder / ("harmed" if verb == "resume" else "finished"))
        shutil.copytree(source, config.run)
        files = sorted(path for path in config.run.rglob("*") if path.is_file())
        path = files[int(rng.integers(len(files)))]
        harm = HARMS[int(rng.integers(len(HARMS)))]
        harm(path, rng)
        name = f"{path.relative_to(config.run)}, {harm.__name__.strip('_')}, then {verb}"
        work = go_on(config) if verb == "resume" else reads(verb, config.run)
        end = in_child(work, limit=_LIMIT)
        yield _judged(number, verb, name, end, config.run, whole.run, wanted)
        shutil.rmtree(config.run)
    shutil.rmtree(whole.run)
    shutil.rmtree(half.run)


def _words(end: End) -> list[str]:
    """Return what was printed, without times."""
    return [line for line in end.said.splitlines() if "steps/s" not in line and not line.startswith("lifelong: warn")]


def _judged(number: int, verb: str, name: str, end: End, run: Path, whole: Path, wanted: dict[str, list[str]]) -> Trial:
    if end.how == "refused":
        line = end.said.strip().splitlines()[-1]
        return Trial("damages", verb, number, "refused", True, f"{name}: {line}")
    if end.how != "done":
        return Trial("damages", verb, number, end.how, False, f"{name}: {end.said[-500:]}")
    if verb == "resume":
        other = differences(run, whole, curves=False)
    else:
        other = ["another result"] if _words(end) != wanted[verb] else []
    if not other:
        return Trial("damages", verb, number, "the result of before", True)
    said = "warned" if "warning" in end.said.lower() or "missing:" in end.said else "silent"
    return Trial("damages", verb, number, f"another result, {said}", said == "warned", f"{name}: {'; '.join(other)}")
