"""Common observation and action spaces of several environments, and the conversions into them.

| observations of the tasks | common observation |
| --- | --- |
| the same space | that space |
| Dicts, or Dicts and others | a Dict of all their entries; other spaces are its entry `observation`, and missing entries are zeros |
| Discrete; MultiDiscrete or Box of one shape | the same with the largest range |
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

__all__ = ["Adapted", "common_actions", "common_observations"]

AnySpace = spaces.Space[Any]


class Adapted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrap an environment in common spaces.

    Args:
        env: one of the environments.
        look: the observed part of its observation space.
        observation_space: of all, from `common_observations`.
        action_space: of all, from `common_actions`.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], look: AnySpace, observation_space: AnySpace, action_space: AnySpace
    ) -> None:
        super().__init__(env)
        self._look, self._act = look, env.action_space
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        seen, info = self.env.reset(seed=seed, options=options)
        return _shown(self.observation_space, self._look, seen), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment by its own action of a common one."""
        seen, reward, terminated, truncated, info = self.env.step(_own_action(self.action_space, self._act, action))
        return _shown(self.observation_space, self._look, seen), reward, terminated, truncated, info


def common_observations(looks: Sequence[AnySpace]) -> AnySpace:
    """Return the common observation space; see the table."""
    return _common(list(looks))


def common_actions(acts: Sequence[AnySpace]) -> AnySpace:
    """Return the common action space; see the table.

    Raises:
        ValueError: if some are Discrete and some are Box.
    """
    first = acts[0]
    if all(act == first for act in acts):
        return first
    if all(isinstance(act, spaces.Discrete) for act in acts):
        return spaces.Discrete(max(int(act.n) for act in acts if isinstance(act, spaces.Discrete)))
    if all(isinstance(act, spaces.Box) for act in acts):
        return spaces.Box(-1.0, 1.0, (max(spaces.flatdim(act) for act in acts),), np.float32)
    kinds = ", ".join(dict.fromkeys(str(act) for act in acts))
    raise ValueError(f"actions of one stream are all Discrete or all Box, got {kinds}")


def _common(looks: list[AnySpace | None]) -> AnySpace:
    there = [look for look in looks if look is not None]
    first = there[0]
    if all(look == first for look in there) and not isinstance(first, spaces.Discrete | spaces.MultiDiscrete):
        return first
    if any(isinstance(look, spaces.Dict | spaces.Tuple) for look in there):
        parts = [{} if look is None else _entries(look) for look in looks]
        names = dict.fromkeys(name for part in parts for name in part)
        return spaces.Dict({name: _common([part.get(name) for part in parts]) for name in names})
    if all(isinstance(look, spaces.Discrete) for look in there):
        return spaces.Discrete(max(int(look.n) for look in there if isinstance(look, spaces.Discrete)))
    if len({look.shape for look in there}) == 1:
        if all(isinstance(look, spaces.MultiDiscrete) for look in there):
            sizes = [look.nvec for look in there if isinstance(look, spaces.MultiDiscrete)]
            return spaces.MultiDiscrete(np.max(sizes, axis=0), first.dtype)  # type: ignore[arg-type]
        if all(isinstance(look, spaces.Box) for look in there):
            boxes = [look for look in there if isinstance(look, spaces.Box)]
            low, high = np.min([box.low for box in boxes], axis=0), np.max([box.high for box in boxes], axis=0)
            kind = np.result_type(*(box.dtype for box in boxes))
            return spaces.Box(low.astype(kind), high.astype(kind), dtype=kind.type)
    longest = max(spaces.flatdim(look) for look in there)
    low, high = np.zeros(longest, np.float32), np.zeros(longest, np.float32)
    for look in there:
        flat: Any = spaces.flatten_space(look)
        n = flat.shape[0]
        low[:n], high[:n] = np.minimum(low[:n], flat.low), np.maximum(high[:n], flat.high)
    return spaces.Box(low, high, dtype=np.float32)


def _entries(space: AnySpace) -> dict[str, AnySpace]:
    if isinstance(space, spaces.Dict):
        return {str(name): inner for name, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return {str(number): inner for number, inner in enumerate(space.spaces)}
    return {"observation": space}


def _shown(common: AnySpace, own: AnySpace, seen: Any) -> Any:
    """Return an observation as a member of the common space."""
    if isinstance(common, spaces.Dict):
        inner = _entries(own)
        if isinstance(own, spaces.Dict):
            parts = {str(name): seen[name] for name in own.spaces}
        else:
            parts = dict(zip(inner, seen if isinstance(own, spaces.Tuple) else [seen], strict=True))
        return {
            name: _shown(space, inner[name], parts[name]) if name in inner else _nothing(space)
            for name, space in common.spaces.items()
        }
    if isinstance(own, spaces.Tuple):  # and so are all
        return tuple(seen)
    if isinstance(common, spaces.Discrete | spaces.MultiDiscrete):
        return seen - own.start  # type: ignore[attr-defined]
    if own.shape == common.shape and not isinstance(own, spaces.Discrete | spaces.MultiDiscrete):
        return seen
    vector = np.zeros(common.shape or (), np.float32)
    flat: Any = spaces.flatten(own, seen)
    vector[: len(flat)] = flat
    return vector


def _nothing(space: AnySpace) -> Any:
    if isinstance(space, spaces.Dict):
        return {name: _nothing(inner) for name, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_nothing(inner) for inner in space.spaces)
    return np.zeros(space.shape or (), space.dtype)


def _own_action(common: AnySpace, own: Any, action: Any) -> Any:
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
