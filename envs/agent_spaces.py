"""Observation and action spaces of the agent: the task's, plus previous action, previous reward and task boundaries."""

from typing import Any, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.task import Boundary

__all__ = ["no_action", "observation_entries", "validate_actions"]


def observation_entries(
    observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any], boundary: Boundary, tasks: int
) -> spaces.Dict:
    """Return the observation space of the agent, for one life.

    Args:
        observation_space: of a task.
        action_space: of a task.
        boundary: what the observation tells of task changes.
        tasks: how many there are.

    Raises:
        ValueError: if `boundary` is unknown, or the action space neither Discrete nor Box.
    """
    if boundary not in get_args(Boundary):
        raise ValueError(f"boundary must be one of {', '.join(get_args(Boundary))}, got {boundary!r}")
    if not isinstance(action_space, spaces.Discrete | spaces.Box):
        raise ValueError(f"action space must be Discrete or Box, got {action_space}")
    flag = spaces.Box(0.0, 1.0, (1,), np.float32)
    previous = spaces.Discrete(int(action_space.n) + 1) if isinstance(action_space, spaces.Discrete) else action_space
    entries: dict[str, gymnasium.Space[Any]] = {
        "observation": observation_space,
        "previous_action": previous,
        "previous_reward": spaces.Box(-np.inf, np.inf, (1,), np.float32),
        "episode_start": flag,
    }
    if boundary == "flag":
        entries["task_start"] = flag
    if boundary == "task_id":
        entries["task"] = spaces.Discrete(tasks)
    return spaces.Dict(entries)


def no_action(space: gymnasium.Space[Any]) -> Any:
    """Return the previous action at the start of a life: the number of actions, or the action nearest to 0."""
    return space.n if isinstance(space, spaces.Discrete) else np.clip(0, space.low, space.high)  # type: ignore[attr-defined]


def validate_actions(actions: NDArray[Any], space: gymnasium.Space[Any], shape: tuple[int, ...]) -> None:
    """Validate a batch of actions.

    Args:
        actions: [B, ...].
        space: of one life.
        shape: what the batch must have.

    Raises:
        ValueError: if the shape or the type is another, or an action is not of the space.
    """
    if actions.shape != shape:
        raise ValueError(f"actions must be {list(shape)}, got {list(actions.shape)}")
    if isinstance(space, spaces.Discrete):
        if actions.dtype.kind not in "iu":
            raise ValueError(f"actions must be integers, got {actions.dtype}")
        if np.count_nonzero(actions.astype(np.uint64) >= np.uint64(space.n)):  # negative ones are large; beats any()
            raise ValueError(f"actions must be 0 to {space.n - 1}, got {actions.min()} to {actions.max()}")
    elif not np.isfinite(actions).all():
        raise ValueError(f"actions must be finite, got {actions[~np.isfinite(actions)][0]}")
