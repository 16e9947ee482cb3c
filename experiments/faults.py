"""What a wrong input may raise: the command line answers these with one line and exit code 2."""

from lifelong.agents import HibernationError
from lifelong.envs import StreamError
from lifelong.experiments.config import ConfigError
from lifelong.kernels.capture import CaptureError
from lifelong.memory import MemoryContractError

__all__ = ["FAULTS", "InputError"]


class InputError(ValueError):
    """Something the user gave does not fit."""


FAULTS: tuple[type[Exception], ...] = (
    InputError, ConfigError, HibernationError, StreamError, MemoryContractError, CaptureError
)  # fmt: skip
