"""Reference policies of Meta-World's sequences: random actions, and Meta-World's own scripts.

| policy | knows |
| --- | --- |
| random | nothing |
| oracle | the task, and Meta-World's script for it |
"""

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.policies import Policy, RandomPolicy
from lifelong.envs.stream import TaskStream

__all__ = ["ExpertPolicy", "meta_world_policies"]


def meta_world_policies(stream: TaskStream) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, by name."""
    return {
        "random": lambda: RandomPolicy(stream.single_action_space, stream.seed),
        "oracle": lambda: ExpertPolicy(stream),
    }


class ExpertPolicy:
    """Oracle: Meta-World's own script of the present task.

    Args:
        stream: the stream it acts in; the policy reads the task's number.
    """

    def __init__(self, stream: TaskStream) -> None:
        scripts = importlib.import_module("metaworld.policies").ENV_POLICY_MAP
        self.stream, self.experts = stream, [scripts[task.name]() for task in stream.tasks]

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the next actions."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # for scripts' actions above 1, which are clipped
            asked = [
                self.experts[number].get_action(observation)
                for number, observation in zip(self.stream.task.tolist(), obs["observation"], strict=True)
            ]
        actions: NDArray[np.float32] = np.clip(np.stack(asked), -1.0, 1.0).astype(np.float32)
        return actions
