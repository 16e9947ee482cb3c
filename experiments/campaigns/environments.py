"""Environments that break in every way we could think of, once, amid a training; in its process and apart."""

import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from lifelong.experiments.campaigns.children import do_in_child, in_child
from lifelong.experiments.campaigns.lives import config_of, differences, elsewhere, go_on, train
from lifelong.experiments.campaigns.trial import Trial
from lifelong.experiments.runs.config import TrainConfig

__all__ = ["FAULTS", "environments"]

_ID = "lifelong/Breaking-v0"
_STEP = 150  # of all environments of a process together, at which it breaks
_WORKERS = 2  # processes of environments, in which all faults come a second time

Step = list[Any]  # observation, reward, terminated, truncated, info


class _Foreign(BaseException):
    """An exception that is no Exception."""


def _raises(error: BaseException) -> Callable[[Step], Any]:
    def fault(step: Step) -> Any:
        raise error

    return fault


def _returns(result: Callable[[Step], Any]) -> Callable[[Step], Any]:
    return result


def _at(place: int, value: Any) -> Callable[[Step], Any]:
    """Return a fault that puts a value in the place of one of the five that `step` returns."""

    def fault(step: Step) -> Any:
        step[place] = value
        return tuple(step)

    return fault


def _without_key(step: Step) -> Any:
    del step[0]["x"]
    return tuple(step)


def _more_keys(step: Step) -> Any:
    step[0]["z"] = 1
    return tuple(step)


def _entry(name: str, value: Any) -> Callable[[Step], Any]:
    def fault(step: Step) -> Any:
        step[0][name] = value
        return tuple(step)

    return fault


def _info(**more: Any) -> Callable[[Step], Any]:
    def fault(step: Step) -> Any:
        step[4] = more
        step[2] = True
        return tuple(step)

    return fault


def _ends(how: Callable[[], object]) -> Callable[[Step], Any]:
    def fault(step: Step) -> Any:
        how()
        return tuple(step)

    return fault


def _deep(depth: int = 0) -> None:
    _deep(depth + 1)


_NAN, _INF = float("nan"), float("inf")
_ERRORS: tuple[BaseException, ...] = (
    ValueError("odd"), KeyError("x"), IndexError("list index"), ZeroDivisionError("the cup fell"), TypeError(),
    AttributeError("no such"), RuntimeError("x" * 10_000), AssertionError(), NotImplementedError(), OSError(5, "I/O"),
    FileNotFoundError(2, "No such file", "map.xml"), MemoryError(), RecursionError(), StopIteration(), EOFError(),
    FloatingPointError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), TimeoutError(), BrokenPipeError(),
    ConnectionResetError(), SystemExit(0), SystemExit("bye"), GeneratorExit(), _Foreign("mine"), Warning("as an error"),
)  # fmt: skip
_REWARDS: tuple[Any, ...] = (None, "1", _NAN, _INF, -_INF, 1e39, 10**400, 1j, [1.0], {})
_FLAGS: tuple[Any, ...] = (None, "yes", 2, 0.5, [True])
_INFOS: tuple[Any, ...] = (None, [], "info", 3)
FAULTS: dict[str, Callable[[Step], Any]] = {
    **{
        f"raises {type(error).__name__}": _raises(error)
        for error in _ERRORS
    },
    "recurses without end": _ends(_deep),
    "returns None": _returns(lambda step: None),
    "returns four": _returns(lambda step: tuple(step[:4])),
    "returns six": _returns(lambda step: (*step, 1)),
    "returns a list": _returns(list),
    "returns a dict": _returns(lambda step: dict(enumerate(step))),
    "observation None": _at(0, None),
    "observation a number": _at(0, 3),
    "observation without an entry": _without_key,
    "observation with another entry": _more_keys,
    "entry of another shape": _entry("x", np.zeros(3, np.float32)),
    "entry of a shape that broadcasts": _entry("x", np.zeros(1, np.float32)),
    "entry that is a word": _entry("x", "word"),
    "entry NaN": _entry("x", np.array([_NAN, 0], np.float32)),
    "entry infinite": _entry("x", np.array([0, _INF], np.float32)),
    "entry of objects": _entry("x", np.array([None, {}])),
    "entry complex": _entry("x", np.array([1j, 0])),
    "entry ragged": _entry("x", [[1], [2, 3]]),
    "category too large": _entry("y", 3),
    "category negative": _entry("y", -1),
    "category a float": _entry("y", 0.5),
    "category None": _entry("y", None),
    **{f"reward {value!r}"[:30]: _at(1, value) for value in _REWARDS},
    "reward a vector": _at(1, np.zeros(2)),
    **{f"terminated {value!r}": _at(2, value) for value in _FLAGS},
    "truncated an array": _at(3, np.array([True, False])),
    **{f"info {value!r}": _at(4, value) for value in _INFOS},
    "success a word": _info(success="yes"),
    "success an array": _info(success=np.zeros(3)),
    "success above 1": _info(success=2),
    "answer a word": _info(lifelong_answer="blue"),
    "answer too large": _info(lifelong_answer=2**40),
    "calls sys.exit": _ends(lambda: sys.exit(1)),
    "ends the process": _ends(lambda: os._exit(7)),
    "aborts": _ends(os.abort),
    "segmentation fault": _ends(lambda: ctypes.string_at(0)),
    "is killed": _ends(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "interrupts": _ends(lambda: os.kill(os.getpid(), signal.SIGTERM)),
    "hangs up": _ends(lambda: os.kill(os.getpid(), signal.SIGHUP)),
}  # fmt: skip
"""What `step` does once, by name."""


_ENDING = {"ends the process", "aborts", "segmentation fault", "is killed", "interrupts", "hangs up"}
"""Those that are more to the process than an exception."""


class Breaking(gymnasium.Env[Any, Any]):
    """Episodes of seven steps; in a given step of all environments it breaks, but never again once it has."""

    observation_space = spaces.Dict(x=spaces.Box(-10, 10, (2,), np.float32), y=spaces.Discrete(3))
    action_space = spaces.Discrete(2)
    steps, fault, marker = 0, "", Path()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.count = 0
        return self._shown(), {}

    def step(self, action: Any) -> Any:
        """Step, or break."""
        Breaking.steps += 1
        self.count += 1
        step: Step = [self._shown(), float(action), self.count == 7, False, {}]
        if Breaking.fault and Breaking.steps == _STEP and _is_first(Breaking.marker):
            return FAULTS[Breaking.fault](step)
        return tuple(step)

    def _shown(self) -> Any:
        return {"x": self.np_random.uniform(-1, 1, 2).astype(np.float32), "y": int(self.np_random.integers(3))}


def _is_first(marker: Path) -> bool:
    """Return whether nobody has left this mark before, and leave it."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def environments(folder: Path, numbers: Sequence[int], seed: int) -> Iterator[Trial]:
    """Yield trials: an environment breaks once; the training ends in one line, goes on, and has the same result.

    Args:
        folder: for the runs; what is there is removed after each trial.
        numbers: of the trials; each fault comes once in as many as there are, and then once in a process of its own,
            those that end a process first.
        seed: of the trainings.
    """
    gymnasium.register(_ID, f"{__name__}:{Breaking.__name__}")
    whole = replace(config_of("classic control", folder / "whole", seed), stream=f"gym:{_ID}")
    do_in_child(lambda: train(whole))
    ending = [name for name in FAULTS if name in _ENDING]
    kinds = [(name, 0) for name in FAULTS]
    kinds += [(name, _WORKERS) for name in (*ending, *(name for name in FAULTS if name not in _ENDING))]
    for number in numbers:
        name, env_workers = kinds[number % len(kinds)]
        marker = folder / f"broken-{number}"
        config = replace(elsewhere(whole, folder / f"run-{number}"), env_workers=env_workers)
        yield _trial(number, name if not env_workers else f"{name}, apart", config, whole.run, marker)
        shutil.rmtree(config.run, ignore_errors=True)
        marker.unlink(missing_ok=True)
    shutil.rmtree(whole.run)
    del gymnasium.registry[_ID]


def _trial(number: int, name: str, config: TrainConfig, whole: Path, marker: Path) -> Trial:
    def broken() -> None:
        Breaking.fault, Breaking.marker = name.removesuffix(", apart"), marker
        go_on(config)()

    end = in_child(broken, limit=60)
    if not marker.exists():
        return Trial("environments", name, number, "it did not break", False, end.said[-300:])
    if end.how in ("traceback", "hang"):
        return Trial("environments", name, number, end.how, False, end.said[-500:])
    if end.how == "crash" and config.env_workers:
        return Trial("environments", name, number, "the process ended all the same", False, end.said[-500:])
    again = in_child(go_on(config), limit=60)
    if again.how != "done":
        return Trial("environments", name, number, f"{end.how}, then {again.how}", False, again.said[-500:])
    if other := differences(config.run, whole):
        return Trial("environments", name, number, f"{end.how}, then another result", False, "; ".join(other))
    how = {"refused": "one line", "crash": "the process ended", "done": "no error"}.get(end.how, end.how)
    return Trial("environments", name, number, f"{how}, then the same bits", True)
