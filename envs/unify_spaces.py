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
| Discrete, MultiDiscrete, MultiBinary | a MultiDiscrete as long as the longest, each number with the most choices; a task takes its first numbers so |
| Box | a vector in [-1, 1] as the longest; a task takes its first entries, scaled to its bounds if it has any, and rounded if it takes integers: each gets an equal part of [-1, 1] |
| choices and Box, Dict, Tuple | an error |

A mask of a task's choices is brought along: choice a of the common action is legal if a modulo n is, and what a task does
not take always.
"""  # noqa: E501  a table

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.action_spaces import Masks, as_actions, choice_sizes
from lifelong.envs.gate import legal_choices
from lifelong.hashed_words import is_hashed
from lifelong.readable import MANY

__all__ = ["Adapted", "common_actions", "common_mask", "common_observations", "convert", "own_action"]

AnySpace = spaces.Space[Any]

_CHOICES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


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
        return convert(self.observation_space, self._own_space, obs), self._masked(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment by its own action of a common one."""
        obs, reward, terminated, truncated, info = self.env.step(self.own(action))
        return convert(self.observation_space, self._own_space, obs), reward, terminated, truncated, self._masked(info)

    def own(self, action: Any) -> Any:
        """Return the environment's own action of a common one."""
        return own_action(self.action_space, self._own_actions, action)

    def _masked(self, info: dict[str, Any]) -> dict[str, Any]:
        masks = Masks(self._own_actions) if info.get("action_mask") is not None else None
        if masks is None or not masks.size:
            return info
        legal = legal_choices(masks, info["action_mask"])
        return info | {"action_mask": common_mask(self.action_space, self._own_actions, legal)}


def common_observations(own_spaces: Sequence[AnySpace]) -> AnySpace:
    """Return the common observation space; see the table.

    Raises:
        ValueError: if a Discrete or MultiDiscrete of more than 65,536 categories would have to be one-hot.
    """
    return _common(list(own_spaces))


def common_actions(own_spaces: Sequence[AnySpace]) -> AnySpace:
    """Return the common action space; see the table.

    Raises:
        ValueError: if some are choices and some are Box, or some are a Dict or Tuple.
    """
    first = own_spaces[0]
    if all(space == first for space in own_spaces):
        return first
    if all(isinstance(space, spaces.Discrete) for space in own_spaces):
        return spaces.Discrete(max(int(space.n) for space in own_spaces if isinstance(space, spaces.Discrete)))
    if all(isinstance(space, _CHOICES) for space in own_spaces):
        sizes = [choice_sizes(space) for space in own_spaces]
        most = [max(s[i] for s in sizes if i < len(s)) for i in range(max(len(s) for s in sizes))]
        return spaces.MultiDiscrete(most)
    if all(isinstance(space, spaces.Box) for space in own_spaces):
        return spaces.Box(-1.0, 1.0, (max(spaces.flatdim(space) for space in own_spaces),), np.float32)
    kinds = ", ".join(dict.fromkeys(str(space) for space in own_spaces))
    raise ValueError(
        "actions of one stream are all choices (Discrete, MultiDiscrete, MultiBinary) or all Box, got " + kinds
    )


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
        return int(own.start) + int(np.reshape(action, -1)[0]) % int(own.n)
    if isinstance(own, _CHOICES):
        sizes = choice_sizes(own)
        chosen = np.reshape(action, -1)[: sizes.size] % sizes
        return as_actions(own, chosen.reshape(own.shape))
    part = np.asarray(action, np.float64)[: spaces.flatdim(own)].reshape(own.shape)
    bounded = np.isfinite(own.low) & np.isfinite(own.high)
    low, high = np.where(bounded, own.low, -1.0), np.where(bounded, own.high, 1.0)
    if own.dtype.kind != "f":
        part = np.where(bounded, np.clip(part, -1.0, 1.0), part)
        integer = np.where(bounded, np.floor(low + (part + 1.0) / 2.0 * (high - low + 1.0)), np.rint(part))
        return np.clip(integer, own.low, own.high).astype(own.dtype)
    scaled = low + (np.clip(part, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
    return np.where(bounded, scaled, part).astype(own.dtype)


def common_mask(common: AnySpace, own: AnySpace, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask of a common action from that of the environment's own.

    Args:
        common: space of all.
        own: space of one.
        mask: [n] which of its own choices are legal.
    """
    if common == own:
        return mask
    sizes = choice_sizes(own)
    parts = np.split(mask, np.cumsum(sizes)[:-1])
    parts += [np.ones(1, np.bool_)] * (len(choice_sizes(common)) - len(parts))
    return np.concatenate([np.resize(part, n) for part, n in zip(parts, choice_sizes(common), strict=True)])
