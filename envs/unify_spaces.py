"""Common observation and action spaces of several environments, and the conversions into them.

| observations of the tasks | common observation |
| --- | --- |
| the same space | that space |
| Dicts, or Dicts and others | a Dict of all their entries; other spaces are its entry `observation`, and missing entries are zeros |
| Discrete; MultiDiscrete or Box of one shape | the same with the largest range |
| texts, as hashed words | that of the longest; 0 is no word |
| anything else | a vector as the longest: numbers as they are, choices one-hot, then zeros |

| actions of the tasks | common action |
| --- | --- |
| the same space | that space |
| Discrete | the most choices; a task with n takes choice a as a modulo n |
| Box | a vector in [-1, 1] as the longest; a task takes its first entries, scaled to its bounds if it has any |
| Discrete and Box | an error |
"""  # noqa: E501  a table

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from lifelong.hashed_words import is_hashed
from lifelong.readable import MANY

__all__ = ["Adapted", "common_actions", "common_observations", "convert", "own_action"]

AnySpace = spaces.Space[Any]


class Adapted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrap an environment in common spaces.

    Args:
        env: one of the environments.
        own_space: the observed part of its observation space.
        observation_space: of all, from `common_observations`.
        action_space: of all, from `common_actions`.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], own_space: AnySpace, observation_space: AnySpace, action_space: AnySpace
    ) -> None:
        super().__init__(env)
        self._own_space, self._own_actions = own_space, env.action_space
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return convert(self.observation_space, self._own_space, obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment by its own action of a common one."""
        obs, reward, terminated, truncated, info = self.env.step(
            own_action(self.action_space, self._own_actions, action)
        )
        return convert(self.observation_space, self._own_space, obs), reward, terminated, truncated, info


def common_observations(own_spaces: Sequence[AnySpace]) -> AnySpace:
    """Return the common observation space; see the table.

    Raises:
        ValueError: if a Discrete or MultiDiscrete of more than 65,536 categories would have to be one-hot.
    """
    return _common(list(own_spaces))


def common_actions(own_spaces: Sequence[AnySpace]) -> AnySpace:
    """Return the common action space; see the table.

    Raises:
        ValueError: if some are Discrete and some are Box.
    """
    first = own_spaces[0]
    if all(space == first for space in own_spaces):
        return first
    if all(isinstance(space, spaces.Discrete) for space in own_spaces):
        return spaces.Discrete(max(int(space.n) for space in own_spaces if isinstance(space, spaces.Discrete)))
    if all(isinstance(space, spaces.Box) for space in own_spaces):
        return spaces.Box(-1.0, 1.0, (max(spaces.flatdim(space) for space in own_spaces),), np.float32)
    kinds = ", ".join(dict.fromkeys(str(space) for space in own_spaces))
    raise ValueError(f"actions of one stream are all Discrete or all Box, got {kinds}")


def _common(own_spaces: list[AnySpace | None]) -> AnySpace:
    present = [space for space in own_spaces if space is not None]
    first = present[0]
    if all(space == first for space in present) and not isinstance(first, spaces.Discrete | spaces.MultiDiscrete):
        return first
    if any(isinstance(space, spaces.Dict | spaces.Tuple) for space in present):
        parts = [{} if space is None else _entries(space) for space in own_spaces]
        names = dict.fromkeys(name for part in parts for name in part)
        return spaces.Dict({name: _common([part.get(name) for part in parts]) for name in names})
    if all(isinstance(space, spaces.Discrete) for space in present):
        return spaces.Discrete(max(int(space.n) for space in present if isinstance(space, spaces.Discrete)))
    if len({space.shape for space in present}) == 1:
        if all(isinstance(space, spaces.MultiDiscrete) for space in present):
            sizes = [space.nvec for space in present if isinstance(space, spaces.MultiDiscrete)]
            return spaces.MultiDiscrete(np.max(sizes, axis=0), first.dtype)  # type: ignore[arg-type]
        if all(isinstance(space, spaces.Box) for space in present):
            boxes = [space for space in present if isinstance(space, spaces.Box)]
            low, high = np.min([box.low for box in boxes], axis=0), np.max([box.high for box in boxes], axis=0)
            kind = np.result_type(*(box.dtype for box in boxes))
            return spaces.Box(low.astype(kind), high.astype(kind), dtype=kind.type)
    if all(is_hashed(space) for space in present):
        return max(present, key=lambda space: space.shape or ())
    longest = max(spaces.flatdim(space) for space in present)
    for space in present:
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) and spaces.flatdim(space) > MANY:
            other = next(other for other in present if other != space)
            raise ValueError(
                f"observations {space} and {other} have no common space: one-hot, the first has "
                f"{spaces.flatdim(space):,} numbers, at most {MANY:,} are allowed; give all tasks Discrete observations"
            )
    low, high = np.zeros(longest, np.float32), np.zeros(longest, np.float32)
    for space in present:
        flat: Any = spaces.flatten_space(space)
        n = flat.shape[0]
        low[:n], high[:n] = np.minimum(low[:n], flat.low), np.maximum(high[:n], flat.high)
    return spaces.Box(low, high, dtype=np.float32)


def _entries(space: AnySpace) -> dict[str, AnySpace]:
    if isinstance(space, spaces.Dict):
        return {str(name): inner for name, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return {str(number): inner for number, inner in enumerate(space.spaces)}
    return {"observation": space}


def convert(common: AnySpace, own: AnySpace, obs: Any) -> Any:
    """Return an observation as a member of the common space."""
    if isinstance(common, spaces.Dict):
        inner = _entries(own)
        if isinstance(own, spaces.Dict):
            parts = {str(name): obs[name] for name in own.spaces}
        else:
            parts = dict(zip(inner, obs if isinstance(own, spaces.Tuple) else [obs], strict=True))
        return {
            name: convert(space, inner[name], parts[name]) if name in inner else _nothing(space)
            for name, space in common.spaces.items()
        }
    if isinstance(own, spaces.Tuple):  # and so are all
        return tuple(obs)
    if isinstance(common, spaces.Discrete | spaces.MultiDiscrete):
        counted = obs - own.start  # type: ignore[attr-defined]
        if own.shape == common.shape:
            return counted
        return np.pad(counted, (0, (common.shape or (0,))[0] - len(counted)))  # hashed words
    if own.shape == common.shape and not isinstance(own, spaces.Discrete | spaces.MultiDiscrete):
        return obs
    vector = np.zeros(common.shape or (), np.float32)
    flat: Any = spaces.flatten(own, obs)
    vector[: len(flat)] = flat
    return vector


def _nothing(space: AnySpace) -> Any:
    if isinstance(space, spaces.Dict):
        return {name: _nothing(inner) for name, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_nothing(inner) for inner in space.spaces)
    return np.zeros(space.shape or (), space.dtype)


def own_action(common: AnySpace, own: Any, action: Any) -> Any:
    """Return the environment's own action of a common one."""
    if common == own:
        return action
    if isinstance(own, spaces.Discrete):
        return int(own.start) + int(action) % int(own.n)
    part = np.asarray(action, np.float64)[: spaces.flatdim(own)].reshape(own.shape)
    bounded = np.isfinite(own.low) & np.isfinite(own.high)
    low, high = np.where(bounded, own.low, -1.0), np.where(bounded, own.high, 1.0)
    scaled = low + (np.clip(part, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
    return np.where(bounded, scaled, part).astype(own.dtype)
