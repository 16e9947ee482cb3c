"""The `carry` setting: when the memory's state is reset (a new life, a new task, a new episode)."""

from typing import Literal, get_args

__all__ = ["CARRY", "Carry"]

Carry = Literal["lifetime", "task", "episode"]
CARRY: tuple[Carry, ...] = get_args(Carry)
