"""Drifts of observations: permuted, rotated, noisy, recoloured.

The space stays the same, so that all tasks of a stream share it. Hence entries of a vector are only mixed with entries
of their kind: those with two finite bounds in units of their range, counted from its middle, and those without bounds
unscaled. Of a view [height, width] or [height, width, channels], cells move and channels stay together.

A MultiDiscrete is a vector or view like any other. A Dict is drifted in one of its parts: in `entry`, or in its only
Box, or if it has none in its only MultiDiscrete.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.drifts.base import Change, Ints, Screen
from lifelong.envs.rng import Purpose, cycle, normal

__all__ = ["NoisyObservations", "RemappedColours", "RotatedObservations", "ShuffledObservations", "SwappedObjects"]

Look = Callable[[Any], Any]

_VECTORS = (spaces.Box, spaces.MultiDiscrete)


@dataclass(frozen=True, slots=True)
class ShuffledObservations(Screen):
    """Permute the entries of a vector, the cells of a view, or the values of a Discrete.

    Args:
        order: number of the permutation, any.
        entry: part of a Dict; empty for its only Box.

    Raises:
        ValueError: if `order` is negative.
    """

    order: int = 0
    entry: str = ""

    def __post_init__(self) -> None:
        """Validate `order`."""
        if self.order < 0:
            raise ValueError(f"order must not be negative: order={self.order}")

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        space, name = _part(observation_space, self.entry)
        if isinstance(space, spaces.Discrete):
            names, start = cycle(int(space.n), self.order, Purpose.DRIFT), int(space.start)
            return _Shown(lambda numbers: names[numbers - start] + start, name)
        if len(space.shape) > 1:
            cells = cycle(space.shape[0] * space.shape[1], self.order, Purpose.DRIFT)
            return _Shown(lambda views: views.reshape(len(views), cells.size, -1)[:, cells].reshape(views.shape), name)
        partner = np.arange(space.low.size)
        for kind in _kinds(space):
            partner[kind] = kind[cycle(kind.size, self.order, Purpose.DRIFT)]
        return _Shown(_mixer(space, partner, np.zeros(partner.size), np.ones(partner.size)), name)


@dataclass(frozen=True, slots=True)
class RotatedObservations(Screen):
    """Rotate a view by right angles, or the entries of a vector in pairs of a kind.

    The turned pairs of a vector are divided by |cos| + |sin|, so that what had bounds keeps to them.

    Args:
        degrees: the angle; of a view, a multiple of 90.
        entry: part of a Dict; empty for its only Box.

    Raises:
        ValueError: if `degrees` is not finite.
    """

    degrees: float = 90.0
    entry: str = ""

    def __post_init__(self) -> None:
        """Validate the angle."""
        if not math.isfinite(self.degrees):
            raise ValueError(f"degrees must be finite: degrees={self.degrees}")

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        space, name = _part(observation_space, self.entry)
        if isinstance(space, spaces.Discrete):
            raise ValueError(f"{space} cannot be turned; a Box can")
        if len(space.shape) > 1:
            if self.degrees % 90 or (space.shape[0] != space.shape[1] and self.degrees % 180):
                raise ValueError(f"a view {list(space.shape)} cannot be turned by degrees={self.degrees}")
            return _Shown(lambda views: np.rot90(views, round(self.degrees / 90), (1, 2)), name)
        n = space.low.size
        partner, own, other = np.arange(n), np.ones(n), np.zeros(n)
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        for kind in _kinds(space):
            one, two = kind[: kind.size // 2 * 2].reshape(-1, 2).T
            partner[one], partner[two] = two, one
            own[one] = own[two] = cos / (abs(cos) + abs(sin))
            other[one], other[two] = (-sin / (abs(cos) + abs(sin)), sin / (abs(cos) + abs(sin)))
        return _Shown(_mixer(space, partner, own, other), name)


@dataclass(frozen=True, slots=True)
class NoisyObservations(Screen):
    """Add Gaussian noise to every entry, clipped to its bounds.

    Args:
        scale: its standard deviation, in units of half the range where there are two bounds, of 1 where not.
        entry: part of a Dict; empty for its only Box.

    Raises:
        ValueError: if `scale` is not positive.
    """

    scale: float = 0.1
    entry: str = ""

    def __post_init__(self) -> None:
        """Validate the standard deviation."""
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError(f"scale must be positive and finite: scale={self.scale}")

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        space, name = _part(observation_space, self.entry)
        if isinstance(space, spaces.Discrete) or not np.issubdtype(space.dtype, np.floating):
            raise ValueError(f"only numbers of floating point have an error, got {space}")
        _, half = _ranges(space)
        return _Noisy(self.scale * half, space, num_envs, name)


class _OfMiniGrid(Screen):
    """Base of drifts of MiniGrid observations."""

    def begin(self, env: gymnasium.Env[Any, Any], seed: int) -> Change:
        """Return the change for the coming episode; see `Drift`."""
        made: Any = env.unwrapped
        space, kind = env.observation_space, importlib.import_module("minigrid.minigrid_env").MiniGridEnv
        image = space.spaces.get("image") if isinstance(space, spaces.Dict) else None
        size = getattr(made, "agent_view_size", 0)
        if not isinstance(made, kind) or image is None or image.shape != (size, size, 3):
            raise ValueError(
                f"it does not show MiniGrid's cells, an image [{size}, {size}, 3] for each view, but {image}"
            )
        return super().begin(env, seed)


@dataclass(frozen=True, slots=True)
class RemappedColours(_OfMiniGrid):
    """Permute the colours of MiniGrid's doors, keys, balls and boxes.

    Args:
        order: number of the permutation of the six colours.

    Raises:
        ValueError: if `order` is negative.
    """

    order: int = 0

    def __post_init__(self) -> None:
        """Validate `order`."""
        if self.order < 0:
            raise ValueError(f"order must not be negative: order={self.order}")

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        constants = _minigrid(observation_space)
        colours = cycle(len(constants.COLOR_TO_IDX), self.order, Purpose.DRIFT).astype(np.uint8)
        coloured = [constants.OBJECT_TO_IDX[kind] for kind in ("door", "key", "ball", "box")]

        def look(view: Any) -> Any:
            view = view.copy()
            there = np.isin(view[..., 0], coloured)
            view[there, 1] = colours[view[there, 1]]
            return view

        return _Shown(look, "image")


@dataclass(frozen=True, slots=True)
class SwappedObjects(_OfMiniGrid):
    """Swap the appearance of two kinds of MiniGrid objects, such as goal and lava.

    Args:
        one: a kind of object, in MiniGrid's words.
        other: another.
    """

    one: str = "goal"
    other: str = "lava"

    def change(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], num_envs: int) -> Change:
        """Return the change; see `Screen`."""
        known = _minigrid(observation_space).OBJECT_TO_IDX
        for name, kind in (("one", self.one), ("other", self.other)):
            if kind not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {kind!r}")
        kinds = np.arange(len(known), dtype=np.uint8)
        kinds[[known[self.one], known[self.other]]] = known[self.other], known[self.one]

        def look(view: Any) -> Any:
            view = view.copy()
            view[..., 0] = kinds[view[..., 0]]
            return view

        return _Shown(look, "image")


class _Shown(Change):
    """Observation wrapper that maps an observation, or its part `name`, through `look`."""

    def __init__(self, look: Look, name: str = "") -> None:
        self.look, self.part = look, name

    def observation(self, slots: Ints, obs: NDArray[Any]) -> NDArray[Any]:
        drifted: NDArray[Any] = self.look(obs)
        return drifted


class _Noisy(Change):
    kept = ("seed", "step")

    def __init__(self, scale: NDArray[np.float64], space: spaces.Box, num_envs: int, name: str) -> None:
        self.scale, self.space, self.part = scale, space, name
        self.seed, self.step = np.zeros(num_envs, np.uint64), np.zeros(num_envs, np.int64)

    def begin(self, slots: Ints, seeds: NDArray[np.uint64]) -> None:
        self.seed[slots], self.step[slots] = seeds, 0

    def action(self, slots: Ints, actions: NDArray[Any]) -> NDArray[Any]:
        self.step[slots] += 1
        return actions

    def observation(self, slots: Ints, obs: NDArray[Any]) -> NDArray[Any]:
        entries = self.scale.size * self.step[slots, None] + np.arange(self.scale.size)
        errors = self.scale * normal(self.seed[slots, None], Purpose.DRIFT, entries).reshape(obs.shape)
        return np.clip(obs + errors, self.space.low, self.space.high).astype(self.space.dtype)


def _part(space: spaces.Space[Any], entry: str) -> tuple[spaces.Box | spaces.Discrete, str]:
    """Return the drifted part of an observation space, a MultiDiscrete as a Box, and its name in a Dict."""
    if isinstance(space, spaces.Dict):
        fitting = [[name for name, inner in space.spaces.items() if isinstance(inner, kind)] for kind in _VECTORS]
        only = fitting[0] or fitting[1]
        if not entry and len(only) != 1:
            raise ValueError(f"entry must say which part is meant: {', '.join(space.spaces)}")
        entry = entry or only[0]
        if entry not in space.spaces:
            raise ValueError(f"entry must be one of {', '.join(space.spaces)}, got {entry!r}")
        space = space.spaces[entry]
    elif entry:
        raise ValueError(f"entry={entry!r}, but observations are no Dict: {space}")
    if isinstance(space, spaces.MultiDiscrete):
        start = np.asarray(space.start)
        space = spaces.Box(start, start + space.nvec - 1, dtype=space.dtype.type)
    if isinstance(space, spaces.Discrete) or (isinstance(space, spaces.Box) and len(space.shape) in (1, 2, 3)):
        return space, entry
    raise ValueError(
        f"observations must be a vector, a view [height, width] or [height, width, channels] or a Discrete, got {space}"
    )


def _ranges(space: spaces.Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle of each entry's range and half its width; 0 and 1 without bounds."""
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    low, high = np.where(bounded, space.low, -1.0), np.where(bounded, space.high, 1.0)
    return (low + high) / 2, np.where(high > low, high - low, 2.0) / 2


def _kinds(space: spaces.Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of entries with two bounds and of those with none."""
    below, above = np.isfinite(space.low), np.isfinite(space.high)
    return np.flatnonzero(below & above), np.flatnonzero(~below & ~above)


def _mixer(space: spaces.Box, partner: NDArray[np.int64], own: NDArray[np.float64], other: NDArray[np.float64]) -> Look:
    """Return a function that mixes `own` of each entry with `other` of its partner, in units of their ranges."""
    middle, half = _ranges(space)

    def look(obs: Any) -> Any:
        inner = (obs - middle) / half
        mixed = np.clip(middle + half * (own * inner + other * inner[..., partner]), space.low, space.high)
        return (np.rint(mixed) if np.issubdtype(space.dtype, np.integer) else mixed).astype(space.dtype)

    return look


def _minigrid(space: spaces.Space[Any]) -> Any:
    """Return the names of MiniGrid's object types."""
    known = importlib.import_module("minigrid.core.constants")
    image = space.spaces.get("image") if isinstance(space, spaces.Dict) else None
    shape = image.shape if isinstance(image, _VECTORS) else ()
    if len(shape) != 3 or shape[0] != shape[1] or shape[2] != 3:
        raise ValueError(f"it does not show MiniGrid's cells, an image [size, size, 3], but {space}")
    sizes = [len(table) for table in (known.OBJECT_TO_IDX, known.COLOR_TO_IDX, known.STATE_TO_IDX)]
    if isinstance(image, spaces.MultiDiscrete) and (image.nvec != sizes).any():
        raise ValueError(f"it does not show MiniGrid's cells, which have {sizes} values, but {image}")
    return known
