"""A stream in the spaces of an agent that was made for another one; see `unify_spaces.py`."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorWrapper
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from lifelong.action_spaces import no_action
from lifelong.envs.stream import TaskStream
from lifelong.envs.unify_spaces import common_actions, common_mask, common_observations, convert, own_action

__all__ = ["Fitted", "fit"]

AnySpace = gymnasium.Space[Any]


def fit(stream: TaskStream, observation_space: AnySpace, action_space: AnySpace) -> "TaskStream | Fitted":
    """Return a stream as an agent with these spaces can live in it; the stream itself if the spaces are the same.

    Args:
        stream: to live in.
        observation_space: of the agent, for one life, as `TaskStream.single_observation_space`.
        action_space: of the agent, for one life.

    Raises:
        ValueError: if the common space of both is not the agent's: it cannot hold what the stream shows or takes.
    """
    own = stream.single_observation_space, stream.single_action_space
    if own == (observation_space, action_space):
        return stream
    for what, wanted, has, common in (
        ("actions", action_space, own[1], common_actions),
        ("observations", observation_space, own[0], common_observations),
    ):
        try:
            fits = common([wanted, has]) == wanted
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"its {what} do not fit those of the agent: {_inner(has)}, the agent's: {_inner(wanted)}")
    return Fitted(stream, observation_space, action_space)


class Fitted(VectorWrapper):
    """Converts observations and actions between a stream and an agent of larger spaces; make it with `fit`."""

    def __init__(self, stream: TaskStream, observation_space: AnySpace, action_space: AnySpace) -> None:
        super().__init__(stream)
        self._own = stream.single_observation_space, stream.single_action_space
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, stream.num_envs)
        self.action_space = batch_space(action_space, stream.num_envs)
        self._chosen: Any = None

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin new lives."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._shown(obs), self._masked(info)

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all lives by their own actions of the common ones."""
        common, its = self.single_action_space, self._own[1]
        self._chosen = actions
        own = actions if common == its else np.stack([own_action(common, its, action) for action in actions])
        obs, reward, terminated, truncated, info = self.env.step(own)
        if "final_obs" in info:
            info = info | {"final_obs": self._shown(info["final_obs"])}
        return self._shown(obs), reward, terminated, truncated, self._masked(info)

    def _masked(self, info: dict[str, Any]) -> dict[str, Any]:
        if "action_mask" not in info:
            return info
        common, own = self.single_action_space, self._own[1]
        return info | {"action_mask": np.stack([common_mask(common, own, mask) for mask in info["action_mask"]])}

    def _shown(self, obs: dict[str, Any]) -> Any:
        own, common = self._own[0], self.single_observation_space
        parts = [convert(common, own, part) for part in iterate(batch_space(own, self.num_envs), obs)]
        out: Any = create_empty_array(common, self.num_envs)
        shown: Any = concatenate(common, parts, out)
        if isinstance(self._own[1], spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            nothing, chosen = no_action(self.single_action_space), self._chosen  # what the agent itself chose, or none
            none = (obs["previous_action"] == no_action(self._own[1])).reshape(self.num_envs, -1).all(1)
            shown["previous_action"] = np.repeat(nothing[None], self.num_envs, 0)
            if not none.all():
                shown["previous_action"][~none] = chosen[~none]
        return shown


def _inner(space: AnySpace) -> AnySpace:
    """Return the part of an observation space that is the task's own."""
    return space["observation"] if isinstance(space, spaces.Dict) and "observation" in space.spaces else space
