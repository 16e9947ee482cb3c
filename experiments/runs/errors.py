"""User errors: the command line reports these in one line with exit code 2."""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lifelong.envs.seeds import SEEDS
from lifelong.envs.task import StreamError

__all__ = [
    "TrainingError",
    "UserError",
    "as_user_error",
    "check_hazard",
    "check_output",
    "check_seed",
    "check_sizes",
    "known_errors",
]


class UserError(ValueError):
    """Something the user gave does not fit; says what it is and what is allowed."""


class TrainingError(RuntimeError):
    """Training failed; says how far it was, what is kept, and how to go on. Its cause is the failure itself."""


_OF_MODULES = {
    "torch": "OutOfMemoryError",
    "lifelong.agents.checkpoint": "CheckpointError",
    "lifelong.kernels.cuda_graph": "CaptureError",
    "lifelong.memory.check": "MemoryContractError",
}

_MOST = {"threads": 1024, "layers": 1024, "width": 2**16, "num_envs": 2**22, "lives": 2**22, "minibatches": 2**22,
         "segment": 2**24, "length": 2**24, "batch": 2**22, "repeats": 2**20, "episodes": 2**24}  # fmt: skip
"""Largest values of sizes that would otherwise freeze the machine; others may be up to 2**62."""


def known_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that are answered in one line.

    Those of modules that import torch are among them once the module was imported: before, nobody can have raised them.
    """
    modules = {name: sys.modules.get(module) for module, name in _OF_MODULES.items()}
    imported = [getattr(module, name) for name, module in modules.items() if hasattr(module, name)]
    return (UserError, StreamError, MemoryError, TrainingError, *imported)


@contextmanager
def as_user_error(*others: type[Exception], prefix: str = "") -> Iterator[None]:
    """Raise a wrong name, or a setting that does not fit, as `UserError`.

    Args:
        *others: more exceptions that come of the input there.
        prefix: before the message.
    """
    wrong: tuple[type[Exception], ...] = (ImportError, TypeError, ValueError, OverflowError, MemoryError, *others)
    try:
        yield
    except known_errors():
        raise
    except KeyError as error:  # as text it would be quoted
        raise UserError(error.args[0]) from error
    except wrong as error:
        raise UserError(f"{prefix}{error}") from error


def check_hazard(settings: Any) -> None:
    """Validate `life_hazard`, beside `life_episodes`.

    Args:
        settings: dataclass that holds both.

    Raises:
        UserError: if it is no probability above 0, or both are given.
    """
    hazard, episodes = settings.life_hazard, settings.life_episodes
    if hazard is not None and not 0 < hazard <= 1:
        raise UserError(
            f"life_hazard must lie above 0 and be at most 1: life_hazard={hazard}; life_episodes=0 is one endless life"
        )
    if hazard is not None and episodes:
        raise UserError(
            "life_hazard and life_episodes exclude each other, both end lives: "
            f"life_hazard={hazard}, life_episodes={episodes}"
        )


def check_sizes(settings: Any, names: Collection[str], least: int = 1) -> None:
    """Validate counts; None is left to a preset.

    Args:
        settings: dataclass that holds them.
        names: of its fields.
        least: smallest value allowed: 1 or 0.

    Raises:
        UserError: if one is too small or too large.
    """
    for name in names:
        value, most = getattr(settings, name), _MOST.get(name, 2**62)
        if value is None:
            continue
        if not value >= least if least != 1 else not value > 0:
            raise UserError(f"{name} must {'be positive' if least == 1 else 'not be negative'}: {name}={value}")
        if value > most:
            raise UserError(f"{name} must be at most {most:,}: {name}={value}")


def check_seed(seed: int | None) -> None:
    """Validate a random seed; None is left open.

    Raises:
        UserError: if it is out of range.
    """
    if seed is not None and not 0 <= seed < SEEDS:
        raise UserError(f"seed must be 0 to {SEEDS - 1}: seed={seed}")


def check_output(path: Path | None, *, folder: bool = False) -> None:
    """Validate a path that will be written to.

    Args:
        path: of a file; None is none.
        folder: whether it is a folder instead.

    Raises:
        UserError: if something in its way is no folder, or a folder stands in its place.
    """
    if path is None:
        return
    if not folder and path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    for place in [path, *path.parents] if folder else path.parents:
        if place.exists() and not place.is_dir():
            raise UserError(f"cannot write {path}: {place} is no folder")
