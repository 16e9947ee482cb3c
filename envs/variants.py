"""Variants of classic control: hidden velocities, and rewards of other sizes, as gymnasium ids.

| id | is |
| --- | --- |
| `lifelong/CartPoleNoVel-v1` | CartPole-v1 whose observation has 0 in place of both velocities |
| `lifelong/PendulumNoVel-v1` | Pendulum-v1, the same |
| `lifelong/AcrobotNoVel-v1` | Acrobot-v1, the same |
| `lifelong/CartPoleReward0.001-v1` | CartPole-v1 with a thousandth of its reward |
| `lifelong/CartPoleReward1000-v1` | CartPole-v1 with a thousand times its reward |

Names and hidden entries of the first two are those of RL Baselines3 Zoo's `MaskVelocityWrapper`.
"""

from collections.abc import Collection
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TransformObservation, TransformReward
from numpy.typing import NDArray

from lifelong.envs.seeds import python_integer

__all__ = ["VARIANTS", "make_variant"]

VARIANTS: dict[str, dict[str, Any]] = {
    "lifelong/CartPoleNoVel-v1": {"env_id": "CartPole-v1", "hidden": (1, 3)},
    "lifelong/PendulumNoVel-v1": {"env_id": "Pendulum-v1", "hidden": (2,)},
    "lifelong/AcrobotNoVel-v1": {"env_id": "Acrobot-v1", "hidden": (4, 5)},
    "lifelong/CartPoleReward0.001-v1": {"env_id": "CartPole-v1", "reward_factor": 0.001},
    "lifelong/CartPoleReward1000-v1": {"env_id": "CartPole-v1", "reward_factor": 1000.0},
}


def make_variant(
    env_id: str, hidden: Collection[int] = (), reward_factor: float = 1.0, **kwargs: Any
) -> gymnasium.Env[Any, Any]:
    """Return a variant of an environment whose observation is a vector.

    Args:
        env_id: of the environment.
        hidden: indices of the entries of the observation that are 0.
        reward_factor: that every reward is multiplied by.
        **kwargs: passed to `gymnasium.make`.
    """
    env: gymnasium.Env[Any, Any] = gymnasium.make(env_id, disable_env_checker=True, **kwargs)
    if hidden:
        shown = np.ones(env.observation_space.shape or (), np.bool_)
        shown[list(hidden)] = False
        env = TransformObservation(env, partial(_hide, shown), env.observation_space)
    if reward_factor != 1.0:
        env = TransformReward(env, partial(_scale, reward_factor))
    return _Seeded(env)


class _Seeded(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrapper whose seeds may be integers of numpy, as those of all ids of ours."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        return self.env.reset(seed=None if seed is None else python_integer(seed), options=options)


def _hide(shown: NDArray[np.bool_], obs: NDArray[Any]) -> NDArray[Any]:
    return np.where(shown, obs, obs.dtype.type(0))


def _scale(factor: float, reward: Any) -> float:
    return factor * float(reward)
