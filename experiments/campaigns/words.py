"""Command lines of random words: each is understood or answered in one line, at once, and writes nothing."""

import functools
import importlib
import io
import os
import pkgutil
import signal
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lifelong.experiments import settings
from lifelong.experiments.campaigns.children import in_child
from lifelong.experiments.campaigns.trial import Trial
from lifelong.experiments.runs.arguments import flags
from lifelong.experiments.runs.errors import known_errors
from lifelong.one_line import one_line

__all__ = ["words"]

_AT_ONCE = 500  # command lines of one process
_LIMIT = 10  # seconds
_FLAGS = ("--help", "--odd", "--steps", "--memory", "--output", "--seed")
_VALUES = (
    "", " ", "-", "--", "-1", "0", "1", "3", "1e6", "1e400", "nan", "inf", "-inf", "9" * 50, "1_000", "0x10", "1/3",
    "gru", "gated_delta", "grru", "none", "metaplastic:gru", "cached:none", "a.b:c", "os:system", "cued-recall",
    "rooms", "gym:CartPole-v1", "gym:", "gym:None", "x.toml", "/", "/dev/null", "/proc/self/mem", "..", "a\nb", "\0",
    "é" * 200,
    "cues=4", "cues=-1", "cues=[", "cyclic:2", "cyclic:", "block:0", "markov", "weird:1e9", "0..4", "4..0", "0..99999",
    "cpu", "cuda:99", "60s", "-60s", "tensorboard,csv", "wandb", "[1,2]", "{}", "(1", "'", '"', "a=b=c", "x" * 5000,
    "check", "register", "show", "train", "True", "drawn", "greedy", "lifetime",
)  # fmt: skip


def words(folder: Path, numbers: Sequence[int], seed: int) -> Iterator[Trial]:
    """Yield trials: random command lines are read, but not run.

    Args:
        folder: where nothing may be written.
        numbers: of the command lines.
        seed: of the words.
    """
    for first in range(0, len(numbers), _AT_ONCE):
        these = numbers[first : first + _AT_ONCE]
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as told:
            place = Path(tempfile.mkdtemp(dir=folder))

            def read_all(numbers: Sequence[int] = these, place: Path = place, told: Any = told) -> None:
                os.chdir(place)
                with open(told.name, "w", encoding="utf-8") as file:  # noqa: PTH123  the name of a string
                    for number in numbers:
                        verb, outcome, said = _read(_line(number, seed))
                        file.write(f"{number}\t{verb}\t{outcome}\t{said}\n")
                        file.flush()

            end = in_child(read_all, limit=_AT_ONCE * _LIMIT)
            found = {int(line.split("\t")[0]): line.rstrip("\n").split("\t")[1:] for line in told if "\t" in line}
            for number in these:
                verb, outcome, said = found.get(number, (_line(number, seed)[0], end.how, end.said[-300:]))
                yield Trial("words", verb, number, outcome, outcome in ("read", "refused", "help"), said)
            left = sorted(path.name for path in place.iterdir())
            if left:
                yield Trial("words", "files", these[0], "wrote a file", False, ", ".join(left[:5]))


def _line(number: int, seed: int) -> list[str]:
    rng = np.random.default_rng((seed, number))
    verb = str(rng.choice(_verbs()))
    line, own = [verb], _flags(verb)
    for _ in range(int(rng.integers(5))):
        if rng.random() < 0.8:
            line.append(str(rng.choice(own if rng.random() < 0.95 else _FLAGS)))
        if rng.random() < 0.9:
            line.append(_VALUES[int(rng.integers(len(_VALUES)))])
    return line


@functools.cache
def _verbs() -> list[str]:
    modules = [module.name for module in pkgutil.iter_modules(settings.__path__)]
    return sorted(name.replace("_", "-") for name in modules if hasattr(_settings(name), "read"))


def _settings(verb: str) -> Any:
    return importlib.import_module(f"lifelong.experiments.settings.{verb.replace('-', '_')}")


@functools.cache
def _flags(verb: str) -> list[str]:
    """Return the options that a verb knows."""
    module = _settings(verb)
    kinds = [thing for name in module.__all__ if is_dataclass(thing := getattr(module, name))]
    return sorted({flag for kind in kinds for flag in flags(kind)}) or list(_FLAGS)


def _read(line: list[str]) -> tuple[str, str, str]:
    """Return the verb, how its words were taken, and what was said."""
    verb, *rest = line

    def late(*_: object) -> None:
        raise TimeoutError(f"it took more than {_LIMIT} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(_LIMIT)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            _settings(verb).read(rest)
    except known_errors() as error:
        return verb, "refused", f"{line} {one_line(str(error))}"[:1000]
    except SystemExit as end:
        return verb, "help" if not end.code else f"exit {end.code}", " ".join(f"{line}".split())
    except OSError as error:  # the command line answers these in one line, if they name a file
        answered = error.filename is not None and not isinstance(error, TimeoutError)
        hang = "hang" if isinstance(error, TimeoutError) else "traceback"
        return verb, "refused" if answered else hang, " ".join(f"{line} {error!r}".split())
    except BaseException:  # noqa: BLE001  it is what is sought
        return verb, "traceback", " ".join(f"{line} {traceback.format_exc(limit=-3)}".split())
    finally:
        signal.alarm(0)
    return verb, "read", ""
