"""Which of the processes that `torchrun` began this one is."""

import os
from contextvars import ContextVar
from typing import NamedTuple

from lifelong.experiments.runs.errors import UserError

__all__ = ["Ranks", "helped", "ranks"]

helped: ContextVar[bool] = ContextVar("helped", default=False)
"""Whether the other ranks wait for trainings of this one; see `ranks.py`."""


class Ranks(NamedTuple):
    """This process among those that `torchrun` began.

    Args:
        rank: its number.
        size: how many there are; 1 without `torchrun`.
    """

    rank: int
    size: int


def ranks() -> Ranks:
    """Return this process's rank, by the variables that `torchrun` sets.

    Raises:
        UserError: if they are not numbers of a rank.
    """
    rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise UserError(f"RANK must be a number below WORLD_SIZE, as torchrun sets them: {rank=}, WORLD_SIZE={size!r}")
    return Ranks(int(rank), int(size))
