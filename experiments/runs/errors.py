"""User errors: the command line reports these in one line with exit code 2."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lifelong.agents import CheckpointError
from lifelong.envs import StreamError
from lifelong.envs.rng import SEEDS
from lifelong.kernels.cuda_graph import CaptureError
from lifelong.memory import MemoryContractError

__all__ = [
    "ERRORS",
    "TrainingError",
    "UserError",
    "as_user_error",
    "check_device",
    "check_hazard",
    "check_output",
    "check_seed",
    "check_sizes",
]


class UserError(ValueError):
    """Something the user gave does not fit; says what it is and what is allowed."""


class TrainingError(RuntimeError):
    """Training failed; says how far it was, what is kept, and how to go on. Its cause is the failure itself."""


ERRORS: tuple[type[Exception], ...] = (
    UserError, CheckpointError, StreamError, MemoryContractError, CaptureError, MemoryError, torch.OutOfMemoryError,
    TrainingError,
)  # fmt: skip

_MOST = {"threads": 1024, "layers": 1024, "width": 2**16, "num_envs": 2**22, "lives": 2**22, "minibatches": 2**22,
         "segment": 2**24, "length": 2**24, "batch": 2**22, "repeats": 2**20, "episodes": 2**24}  # fmt: skip
"""Largest values of sizes that would otherwise freeze the machine; others may be up to 2**62."""


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
    except ERRORS:
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


def check_device(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        UserError: if it is none, or torch cannot compute there.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device must be cpu, cuda or cuda:<number>: device={name}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"torch sees no GPU here: device={name}; --device cpu works everywhere")
    try:
        torch.zeros(1, device=device).item()
    except (AssertionError, RuntimeError, NotImplementedError, ImportError):
        raise UserError(f"torch cannot compute on this device here: device={name}; use cpu or cuda") from None
    return device
