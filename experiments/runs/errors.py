"""What a wrong input may raise: the command line answers these with one line and exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager

from lifelong.agents import CheckpointError
from lifelong.envs import StreamError
from lifelong.experiments.runs.config import ConfigError
from lifelong.kernels.cuda_graph import CaptureError
from lifelong.memory import MemoryContractError

__all__ = ["ERRORS", "InputError", "as_input_error"]


class InputError(ValueError):
    """Something the user gave does not fit."""


ERRORS: tuple[type[Exception], ...] = (
    InputError, ConfigError, CheckpointError, StreamError, MemoryContractError, CaptureError
)  # fmt: skip


@contextmanager
def as_input_error(*others: type[Exception]) -> Iterator[None]:
    """Raise as `InputError` what a wrong name, or a setting that does not fit, raises inside.

    Args:
        *others: what else comes of the input there.
    """
    wrong: tuple[type[Exception], ...] = (ImportError, TypeError, ValueError, *others)
    try:
        yield
    except KeyError as error:  # as text it would be quoted
        raise InputError(error.args[0]) from error
    except wrong as error:
        raise InputError(str(error)) from error
