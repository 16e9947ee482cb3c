"""How a frozen agent acts: by actions drawn from its policy, as in training, or greedily, by the most probable one."""

from typing import Literal, get_args

__all__ = ["ACTIONS", "Actions"]

Actions = Literal["drawn", "greedy"]
ACTIONS: tuple[Actions, ...] = get_args(Actions)
