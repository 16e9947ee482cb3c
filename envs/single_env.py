"""Single: a stream of one life as a `gymnasium.Env`.

    env = gymnasium.make("lifelong/Rooms-DoorKey-8x8-v0", render_mode="rgb_array")
    obs, info = env.reset(seed=3)

Observations and actions are those of `TaskStream` without the batch axis. It does not autoreset: the last step of an
episode returns the terminal observation, its `info["row"]` is the row of `ROW`, and `reset` begins the next episode of
the life, or the next life where that is over. So the hidden parameters persist across `reset()`; `reset(seed=...)`
begins anew, from the first life of that seed, and so does the first `reset()`, with a seed drawn by chance.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import iterate

from lifelong.action_spaces import batch_of
from lifelong.envs.drawing import draw
from lifelong.envs.flat import Flat
from lifelong.envs.seeds import SEEDS
from lifelong.envs.stream import TaskStream

__all__ = ["Single"]


class Single(gymnasium.Env[Any, Any]):
    """Single environment: the lives of a stream one after another.

    Args:
        stream: of one life.
        flat: whether an observation is one vector of float32; see `Flat`.
        render_mode: as the stream has it; or `rgb_array`, then pictures are drawn for a stream that draws none.
        seeded: whether the first `reset` without a seed takes that of the stream; else it draws one.

    Raises:
        ValueError: if it has more lives, or draws nothing in that mode.
    """

    def __init__(
        self, stream: TaskStream, *, flat: bool = False, render_mode: str | None = None, seeded: bool = True
    ) -> None:
        if stream.num_envs != 1:
            raise ValueError(f"one life is shown, so num_envs must be 1: num_envs={stream.num_envs}")
        modes = list(dict.fromkeys(["rgb_array", *stream.metadata["render_modes"]]))
        if render_mode not in (None, *modes):
            raise ValueError(f"render_mode must be {', '.join(modes)} or None, got {render_mode!r}")
        self.stream = stream
        self._flat = Flat(stream.single_observation_space) if flat else None
        self.observation_space = stream.single_observation_space if self._flat is None else self._flat.space
        self.action_space = stream.single_action_space
        metadata = {name: value for name, value in stream.metadata.items() if name != "autoreset_mode"}
        self.metadata = {"render_fps": 5} | metadata | {"render_modes": modes}
        self.render_mode = render_mode or stream.render_mode
        self._seeded, self._over = seeded, False
        self._slot = np.zeros(1, np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode; an unfinished one is abandoned, but counted.

        Args:
            seed: of the lives, which begin anew with it; None continues them, and draws one at the first time.
            options: not supported; must be None or empty.

        Returns:
            The observation and `info`.

        Raises:
            ValueError: if there are options.
        """
        first = self.stream.vector_steps < 0
        if seed is None and first:
            seed = self.stream.seed if self._seeded else int(self.np_random.integers(SEEDS))
        if seed is not None or options:
            obs, infos = self.stream.reset(seed=seed, options=options)
            super().reset(seed=self.stream.seed)
        else:
            if not self._over:
                self.stream.give_up(self._slot)
            self.stream.renew(self._slot)
            obs, infos = self.stream.observe()
            self._picture()
        self._over = False
        return self._alone(obs), _plain(infos)

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
        info = _plain(infos)
        if ended.size:
            self._over = True
            info["row"] = _plain(self.stream.end(ended))
        self._picture()
        return self._alone(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Any:
        """Return a picture [height, width, 3], or None without a render mode or where there is a window."""
        if self.render_mode is None:
            return None
        if self.stream.vector_steps < 0:
            raise gymnasium.error.ResetNeeded("render before the first reset")
        if self.stream.render_mode is None:
            return draw(self.stream.single_observation_space, self._first(self.stream.observe()[0]))
        pictures = self.stream.render()
        return None if pictures is None else pictures[0]

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()

    def _picture(self) -> None:
        if self.render_mode == "human":
            self.stream.render()

    def _alone(self, obs: Any) -> Any:
        return self._first(obs) if self._flat is None else self._flat(obs)[0]

    def _first(self, obs: Any) -> Any:
        return next(iter(iterate(self.stream.observation_space, obs)))


def _plain(columns: dict[str, Any]) -> dict[str, Any]:
    """Return the only entry of every column; Python's own bool, which gymnasium's vector environments batch as such."""
    firsts = {name: column[0] for name, column in columns.items()}
    return {name: bool(value) if isinstance(value, np.bool_) else value for name, value in firsts.items()}
