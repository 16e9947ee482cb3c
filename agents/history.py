"""Observation spaces with previous action, previous reward and episode start.

| entry | meaning | at the start of a life |
| --- | --- | --- |
| observation | the environment's observation | |
| previous_action | the agent's last action; the number of actions stands for "none yet" | none yet, or about 0 |
| previous_reward | [1] the reward for it | 0 |
| episode_start | [1] 1 in the first step of an episode | 1 |

These are the entries of the task streams, so that a policy trained on a stream acts in any environment.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["HISTORY", "has_history", "no_action", "space_with_history"]

HISTORY = ("previous_action", "previous_reward", "episode_start")


def has_history(space: spaces.Space[Any]) -> bool:
    """Return whether a single observation space has the entries of the table above."""
    return isinstance(space, spaces.Dict) and {"observation", *HISTORY} <= space.spaces.keys()


def space_with_history(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> spaces.Dict:
    """Return the observation space with the entries of the table above.

    Args:
        observation_space: of one environment, without history.
        action_space: of one environment, Discrete or Box.
    """
    if isinstance(action_space, spaces.Discrete):
        previous_action: spaces.Space[Any] = spaces.Discrete(int(action_space.n) + 1)
    else:
        previous_action = action_space
    return spaces.Dict(
        {
            "observation": observation_space,
            "previous_action": previous_action,
            "previous_reward": spaces.Box(-np.inf, np.inf, (1,), np.float32),
            "episode_start": spaces.Box(0.0, 1.0, (1,), np.float32),
        }
    )


def no_action(action_space: spaces.Space[Any], num_envs: int) -> NDArray[Any]:
    """Return the `previous_action` of new lives, [B, ...].

    Args:
        action_space: of one environment; actions of a Discrete space count from 0.
        num_envs: B.
    """
    if isinstance(action_space, spaces.Discrete):
        return np.full(num_envs, int(action_space.n), np.int64)
    if isinstance(action_space, spaces.Box):
        nearest_to_zero = np.clip(0, action_space.low, action_space.high).astype(action_space.dtype)
        return np.repeat(nearest_to_zero[None], num_envs, 0)
    raise ValueError(f"action_space must be Discrete or Box, got {action_space}")
