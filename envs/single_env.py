"""Single: a stream of one life as a `gymnasium.Env`.

    env = gymnasium.make("lifelong/Rooms-DoorKey-8x8-v0", render_mode="rgb_array")
    obs, info = env.reset(seed=3)

Observations and actions are those of `TaskStream` without the batch axis. It does not autoreset: the last step of an
episode returns the terminal observation, its `info["row"]` is the row of `ROW`, and `reset` begins the next episode of
the life, or the next life where that is over. So the hidden parameters persist across `reset()`; `reset(seed=...)`
begins anew, from the first life of that seed.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import iterate

from lifelong.action_spaces import batch_of
from lifelong.envs.stream import TaskStream

__all__ = ["Single"]


class Single(gymnasium.Env[Any, Any]):
    """Single environment: the lives of a stream one after another.

    Args:
        stream: of one life.

    Raises:
        ValueError: if it has more.
    """

    def __init__(self, stream: TaskStream) -> None:
        if stream.num_envs != 1:
            raise ValueError(f"one life is shown, so num_envs must be 1: num_envs={stream.num_envs}")
        self.stream = stream
        self.observation_space, self.action_space = stream.single_observation_space, stream.single_action_space
        self.metadata = {name: value for name, value in stream.metadata.items() if name != "autoreset_mode"}
        self.render_mode = stream.render_mode
        self._over = False
        self._slot = np.zeros(1, np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode; an unfinished one is abandoned, but counted.

        Args:
            seed: of the lives, which begin anew with it; None continues them.
            options: not supported; must be None or empty.

        Returns:
            The observation and `info`.

        Raises:
            ValueError: if there are options.
        """
        super().reset(seed=seed)
        if seed is not None or self.stream.vector_steps < 0 or options:
            obs, infos = self.stream.reset(seed=seed, options=options)
        else:
            if not self._over:
                self.stream.give_up(self._slot)
            self.stream.renew(self._slot)
            obs, infos = self.stream.observe()
            self._picture()
        self._over = False
        return self._alone(obs), {name: value[0] for name, value in infos.items()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment.

        Args:
            action: of the action space.

        Returns:
            The observation, reward, terminated, truncated and `info`.

        Raises:
            ValueError: if the action is not of the action space.
            ResetNeeded: before the first `reset`, and after the last step of an episode.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded("step after the end of an episode")
        reward, terminated, truncated, ended = self.stream.advance(batch_of(action, 1))
        obs, infos = self.stream.observe()
        info: dict[str, Any] = {name: value[0] for name, value in infos.items()}
        if ended.size:
            self._over = True
            info["row"] = {name: column[0] for name, column in self.stream.end(ended).items()}
        self._picture()
        return self._alone(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Any:
        """Return a picture [height, width, 3], or None without a render mode or where there is a window."""
        if self.render_mode is None:
            return None
        pictures = self.stream.render()
        return None if pictures is None else pictures[0]

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()

    def _picture(self) -> None:
        if self.render_mode == "human":
            self.stream.render()

    def _alone(self, obs: Any) -> Any:
        return next(iter(iterate(self.stream.observation_space, obs)))
