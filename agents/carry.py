"""What ends a memory: the life, a change of task, or an episode's end."""

from typing import Literal, get_args

__all__ = ["CARRY", "Carry"]

Carry = Literal["lifetime", "task", "episode"]
CARRY: tuple[Carry, ...] = get_args(Carry)
