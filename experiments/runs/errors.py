"""User errors: the command line reports these in one line with exit code 2."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lifelong.envs.task import StreamError
from lifelong.schema import SchemaError, check

__all__ = [
    "TrainingError",
    "UserError",
    "as_user_error",
    "check_ends_of_lives",
    "check_fields",
    "check_output",
    "error_text",
    "known_errors",
]


class UserError(ValueError):
    """Something the user gave does not fit; says what it is and what is allowed."""


def error_text(error: Exception) -> str:
    """Return an error's kind and message, without the data that the `repr` of a UnicodeDecodeError shows."""
    return f"{type(error).__name__}: {error}"


class TrainingError(RuntimeError):
    """Training failed; says how far it was, what is kept, and how to go on. Its cause is the failure itself."""


_OF_MODULES = {
    "torch": "OutOfMemoryError",
    "lifelong.agents.checkpoint": "CheckpointError",
    "lifelong.kernels.cuda_graph": "CaptureError",
    "lifelong.memory.check": "MemoryContractError",
}


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
        prefix: before the message, unless it begins so.
    """
    wrong: tuple[type[Exception], ...] = (ImportError, TypeError, ValueError, OverflowError, MemoryError, *others)
    try:
        yield
    except known_errors():
        raise
    except KeyError as error:  # as text it would be quoted
        raise UserError(error.args[0]) from error
    except wrong as error:
        said = str(error)
        raise UserError(said if said.startswith(prefix.rstrip(": ")) else f"{prefix}{said}") from error


def check_fields(settings: Any) -> None:
    """Validate the fields of a dataclass of settings by their annotations.

    Raises:
        UserError: if one has another type, or is out of range.
    """
    try:
        check(settings)
    except SchemaError as error:
        raise UserError(str(error)) from error


def check_ends_of_lives(settings: Any) -> None:
    """Validate `life_hazard` beside `life_episodes`.

    Args:
        settings: dataclass that holds both.

    Raises:
        UserError: if both are given.
    """
    hazard, episodes = settings.life_hazard, settings.life_episodes
    if hazard is not None and episodes:
        raise UserError(
            "life_hazard and life_episodes exclude each other, both end lives: "
            f"life_hazard={hazard}, life_episodes={episodes}"
        )


def check_output(path: Path | None, *, folder: bool = False, overwrite: bool = True) -> None:
    """Validate a path that will be written to.

    Args:
        path: of a file; None is none.
        folder: whether it is a folder instead.
        overwrite: whether a file that is there may be replaced.

    Raises:
        UserError: if something in its way is no folder, a folder stands in its place, or it must not be replaced.
    """
    if path is None:
        return
    if not overwrite and path.is_file():
        raise UserError(f"{path} exists: pass --overwrite to replace it, or another name")
    if not folder and path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    for place in [path, *path.parents] if folder else path.parents:
        if place.exists() and not place.is_dir():
            raise UserError(f"cannot write {path}: {place} is no folder")
