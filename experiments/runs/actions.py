"""How a frozen agent acts: by actions drawn from its policy, as in training, or greedily, by the most probable one."""

from collections.abc import Collection
from typing import Literal, get_args

from lifelong.experiments.runs.errors import UserError

__all__ = ["ACTIONS", "Actions", "check_actions"]

Actions = Literal["drawn", "greedy"]
ACTIONS: tuple[Actions, ...] = get_args(Actions)


def check_actions(actions: str, known: Collection[str] = ACTIONS) -> None:
    """Validate the name of a way to act.

    Args:
        actions: the name.
        known: all that are allowed.

    Raises:
        UserError: if it is unknown.
    """
    if actions not in known:
        raise UserError(f"actions must be one of {', '.join(known)}: actions={actions}")
