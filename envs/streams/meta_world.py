"""Meta-World: sequences of ten manipulation tasks, CW10 and CW20 of Continual World.

| entry of the observation | meaning |
| --- | --- |
| 0-2 | the hand, in metres |
| 3 | opening of the gripper, from 0 to 1 |
| 4-10, 11-17 | place and orientation of one or two things; 0 where there is none |
| 18-35 | the same one step ago |
| 36-38 | the goal |

Actions are four numbers from -1 to 1: where the hand is to go, and how strongly the gripper closes. A step is worth up
to 10. Every episode has 200 steps and random positions of objects and goal; `success` of its row is whether the goal
was reached in any step. The task is observable only by its objects, unless `boundary="task_id"`.

| stream | tasks |
| --- | --- |
| cw10 | the ten, 5000 episodes (1,000,000 steps) of each |
| cw20 | the ten, and in the same life all of them once more |

No memory across episodes is needed: forgetting can only be in the slow weights. The oracle knows the task and runs
Meta-World's own script for it.

Differs from Continual World: version 3 of the environments with their rewards and 39 numbers, where there it was
version 1 with 12; cw20 has ten tasks that are met twice, not twenty.

Source: arXiv:2105.10919 (the sequence, the steps, what counts as success), arXiv:1910.10897 (Meta-World), and the
package metaworld 3.1, which `pip install 'lifelong-rl[metaworld]'` brings.
"""

import importlib
from typing import Any

import gymnasium
import numpy as np

from lifelong.envs.gym_stream import GymStream
from lifelong.envs.gym_task import GymTask
from lifelong.envs.schedules import Cyclic
from lifelong.envs.stream import References

__all__ = ["CW10", "GymArm", "MetaWorld", "cw10", "cw20", "make_arm"]

_VISIT = 5000  # episodes: a million steps

CW10: dict[str, References] = {
    "hammer-v3": References(random=190.2, oracle=1260.6),
    "push-wall-v3": References(random=13.0, oracle=1457.4),
    "faucet-close-v3": References(random=524.3, oracle=1612.9),
    "push-back-v3": References(random=2.2, oracle=162.6),
    "stick-pull-v3": References(random=4.8, oracle=526.0),
    "handle-press-side-v3": References(random=101.9, oracle=567.0),
    "push-v3": References(random=10.4, oracle=1549.4),
    "shelf-place-v3": References(random=0.0, oracle=841.9),
    "window-close-v3": References(random=105.3, oracle=1113.7),
    "peg-unplug-side-v3": References(random=10.3, oracle=662.3),
}
"""The tasks in their order, with the scores of random actions and the scripts in 80 episodes of each; better may exist.
The scripts reach the goal in all of these episodes, but in 65 % of push-back's, 90 % of stick-pull's and 91 % of
shelf-place's; random actions in one of peg-unplug-side's.
"""


class MetaWorld(GymStream):
    """Task stream over Meta-World's environments.

    Args:
        num_envs: B, lives side by side.
        visits: how often all tasks are met in a life, 5000 episodes each time, unless `life_episodes` says otherwise.
        **settings: as for `GymStream`.

    Raises:
        ValueError: as `GymStream`, or if Meta-World is not installed.
    """

    def __init__(self, num_envs: int = 1, *, visits: int = 1, **settings: Any) -> None:
        tasks = [GymTask(name, scores, _ID, {"task": name}) for name, scores in CW10.items()]
        episodes = visits * _VISIT * len(tasks)
        usual: dict[str, Any] = {"schedule": Cyclic(_VISIT), "life_episodes": episodes, "unify": True}
        super().__init__(tasks, num_envs, **(usual | settings))


class Arm(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrap a Meta-World environment: all random numbers from the seed, success kept until the episode's end.

    Args:
        env: of Meta-World; its goal is observed, and redrawn in every episode.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._solved = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        arm: Any = self.env
        if seed is not None:
            arm.seed(seed)
        self._solved = False
        obs, info = arm.reset()
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._solved = self._solved or info["success"] > 0
        return obs, reward, terminated, truncated, info | {"success": float(self._solved)}


class GymArm(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrap an environment of Meta-World's own ids, such as `Meta-World/MT1`: random numbers and space as they must be.

    It draws the goal of an episode before it is given that episode's seed, and its observation space is, until a task
    is set, that of a hidden goal.

    Args:
        env: as `gymnasium.make` returns it.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        env.reset()  # sets a task
        arm: Any = env.unwrapped
        vars(arm).pop("sawyer_observation_space", None)
        arm.observation_space = arm.sawyer_observation_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        if seed is not None:
            self.env.unwrapped.np_random = np.random.default_rng(seed)
        return self.env.reset(seed=seed, options=options)


def cw10(num_envs: int = 1, **settings: Any) -> MetaWorld:
    """Return lives in which ten tasks follow each other; settings as for `GymStream`."""
    return MetaWorld(num_envs, **settings)


def cw20(num_envs: int = 1, **settings: Any) -> MetaWorld:
    """Return lives in which ten tasks follow each other twice; settings as for `GymStream`."""
    return MetaWorld(num_envs, visits=2, **settings)


def make_arm(task: str, **settings: Any) -> gymnasium.Env[Any, Any]:
    """Return an environment of Meta-World, without a limit of steps below its own 500.

    Args:
        task: Meta-World's name of it, such as `hammer-v3`.
        **settings: of its class.

    Raises:
        gymnasium.error.NameNotFound: if there is no such task.
        ImportError: if Meta-World is not installed.
    """
    known = importlib.import_module("metaworld.env_dict").ALL_V3_ENVIRONMENTS
    if task not in known:
        raise gymnasium.error.NameNotFound(f"no task {task!r}; known: {', '.join(known)}")
    arm = known[task](**settings)
    arm._partially_observable, arm._set_task_called = False, True
    arm._freeze_rand_vec, arm.seeded_rand_vec = False, True
    vars(arm).pop("sawyer_observation_space", None)  # computed for an unobserved goal
    arm.observation_space = arm.sawyer_observation_space
    return Arm(arm)


_ID = "lifelong/MetaWorld-v0"
