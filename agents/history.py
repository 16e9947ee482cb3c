"""Observation spaces with previous action, previous reward and episode start.

| entry | meaning | at the start of a life |
| --- | --- | --- |
| observation | the environment's observation | |
| previous_action | the action the environment got last; see `lifelong.action_spaces` | none yet, or about 0 |
| previous_reward | [1] the reward for it | 0 |
| episode_start | [1] 1 in the first step of an episode | 1 |

These are the entries of the task streams, so that a policy trained on a stream acts in any environment.
"""

from typing import Any

import numpy as np
from gymnasium import spaces

from lifelong.action_spaces import previous_action_space

__all__ = ["HISTORY", "has_history", "space_with_history"]

HISTORY = ("previous_action", "previous_reward", "episode_start")


def has_history(space: spaces.Space[Any]) -> bool:
    """Return whether a single observation space has the entries of the table above."""
    return isinstance(space, spaces.Dict) and {"observation", *HISTORY} <= space.spaces.keys()


def space_with_history(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> spaces.Dict:
    """Return the observation space with the entries of the table above.

    Args:
        observation_space: of one environment, without history.
        action_space: of one environment.
    """
    return spaces.Dict(
        {
            "observation": observation_space,
            "previous_action": previous_action_space(action_space),
            "previous_reward": spaces.Box(-np.inf, np.inf, (1,), np.float32),
            "episode_start": spaces.Box(0.0, 1.0, (1,), np.float32),
        }
    )
