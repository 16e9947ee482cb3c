"""A gymnasium environment as a task: data, of which `gym_stream.py` makes environments."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lifelong.envs.task import Task

if TYPE_CHECKING:
    from lifelong.envs.drifts.base import Drift

__all__ = ["GymTask"]


@dataclass(frozen=True, slots=True)
class GymTask(Task):
    """Task of a `GymStream`: a gymnasium environment with drifts.

    Args:
        name: shown in tables.
        references: what its returns are compared with.
        env_id: as `gymnasium.make` takes it, `module:id` included; empty if it is the name.
        kwargs: passed to `gymnasium.make`.
        drifts: changes of the environment, the innermost first; see `drifts/base.py`.
        success_return: return from which on an episode is a success; None: what the environment says.

    Raises:
        ValueError: if `success_return` is not finite.
    """

    env_id: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    drifts: "Sequence[Drift]" = ()
    success_return: float | None = None

    def __post_init__(self) -> None:
        """Fill in the id, make the task hashable, and validate the threshold."""
        if self.success_return is not None and not math.isfinite(self.success_return):
            raise ValueError(f"success_return must be finite: success_return={self.success_return}")
        object.__setattr__(self, "env_id", self.env_id or self.name)
        object.__setattr__(self, "drifts", tuple(self.drifts))
