"""Presets of families of gymnasium environments, as data with the reason of each number.

| family | what is in it | chosen where |
| --- | --- | --- |
| classic-control | a few numbers, short episodes | gymnasium's classic_control and toy_text; nothing else fits |
| box2d | LunarLander and its like | gymnasium's box2d |
| mujoco | joints and torques | gymnasium's mujoco, gymnasium_robotics; actions in a Box |
| minigrid | views of a grid, rare rewards | minigrid |
| popgym | categories, what was seen before counts | popgym; all observations are categories |
| memory-gym | pixels, what was seen before counts | memory_gym |
| atari | pixels | ale_py; observations with an image |

A family is chosen by the package that an environment is from, else by its spaces.
"""

from typing import Any

import numpy as np
from gymnasium import spaces

from lifelong.agents.encoder import leaves_of
from lifelong.agents.ppo import PPOConfig
from lifelong.envs.gym_stream import GymTask, make_task

__all__ = ["FAMILIES", "family_of"]

_OTHER = "classic-control"
_PACKAGES = {
    "gymnasium.envs.classic_control": "classic-control",
    "gymnasium.envs.toy_text": "classic-control",
    "gymnasium.envs.box2d": "box2d",
    "gymnasium.envs.mujoco": "mujoco",
    "gymnasium_robotics": "mujoco",
    "minigrid": "minigrid",
    "popgym": "popgym",
    "memory_gym": "memory-gym",
    "ale_py": "atari",
}

FAMILIES: dict[str, dict[str, Any]] = {
    "classic-control": {
        # 1e-3 and 4 passes learn CartPole in 100 k steps; entropy .01 keeps all actions until Acrobot's goal is found
        "ppo": PPOConfig(lr=1e-3, epochs=4, entropy_coef=0.01),
    },
    "box2d": {"ppo": PPOConfig(lr=1e-3, epochs=4, entropy_coef=0.01)},
    "mujoco": {"ppo": PPOConfig(lr=1e-3, epochs=4)},
    "minigrid": {"ppo": PPOConfig(lr=1e-3, epochs=4)},
    "popgym": {"ppo": PPOConfig(lr=1e-3, epochs=4)},
    "memory-gym": {"ppo": PPOConfig(lr=1e-3, epochs=4)},
    "atari": {"ppo": PPOConfig(lr=2.5e-4, epochs=4, clip_epsilon=0.1)},
}


def family_of(env_id: str) -> str:
    """Return the family of an environment: by its package, else by its spaces; `classic-control` if it cannot be made.

    Args:
        env_id: as `gymnasium.make` takes it.
    """
    try:
        env = make_task(GymTask(env_id))
    except Exception:  # noqa: BLE001  whatever foreign code raises; making the stream says it
        return _OTHER
    package, observation, action = type(env.unwrapped).__module__, env.observation_space, env.action_space
    env.close()
    if family := next((family for name, family in _PACKAGES.items() if package.startswith(name)), None):
        return family
    leaves = [leaf for _, leaf in leaves_of(observation)]
    if any(isinstance(leaf, spaces.Box) and leaf.dtype == np.uint8 and len(leaf.shape) == 3 for leaf in leaves):
        return "atari"
    if isinstance(action, spaces.Box):
        return "mujoco"
    return "popgym" if all(isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete) for leaf in leaves) else _OTHER
