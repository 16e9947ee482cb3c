"""Observation and action spaces of the agent: the task's, plus previous action, previous reward and task boundaries."""

from typing import Any, get_args

import gymnasium
import numpy as np
from gymnasium import spaces

from lifelong.action_spaces import previous_action_space, validate_space
from lifelong.envs.task import Boundary

__all__ = ["observation_entries"]


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
        ValueError: if `boundary` is unknown, or there is no policy over the action space.
    """
    if boundary not in get_args(Boundary):
        raise ValueError(f"boundary must be one of {', '.join(get_args(Boundary))}, got {boundary!r}")
    validate_space(action_space, "stream")
    flag = spaces.Box(0.0, 1.0, (1,), np.float32)
    entries: dict[str, gymnasium.Space[Any]] = {
        "observation": observation_space,
        "previous_action": previous_action_space(action_space),
        "previous_reward": spaces.Box(-np.inf, np.inf, (1,), np.float32),
        "episode_start": flag,
    }
    if boundary == "flag":
        entries["task_start"] = flag
    if boundary == "task_id":
        entries["task"] = spaces.Discrete(tasks)
    return spaces.Dict(entries)
