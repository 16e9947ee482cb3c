"""The part of a gymnasium environment's observation space that an agent reads, or why it reads none."""

import importlib
from typing import Any

import gymnasium
from gymnasium import spaces

from lifelong.readable import brief, refusal

__all__ = ["readable", "with_cells"]


def readable(env: gymnasium.Env[Any, Any], env_id: str, *, minigrid: bool = False) -> spaces.Space[Any]:
    """Return the observed part of an environment's observation space.

    Entries of a Dict that hold no number are left out, if others do: bodies without actuators have such.

    Args:
        env: with all its wrappers.
        env_id: for messages.
        minigrid: whether it is MiniGrid's or BabyAI's: its images of cells are categories, see `minigrid/cells.py`, and
            a mission that never varies is left out.

    Raises:
        ValueError: if an entry cannot be read; names it, the reason and what to do.
    """
    space: spaces.Space[Any] = with_cells(env) if minigrid else env.observation_space
    if minigrid and isinstance(space, spaces.Dict):
        varies = isinstance(space.spaces.get("mission"), spaces.MultiDiscrete)
        space = spaces.Dict({key: inner for key, inner in space.spaces.items() if key != "mission" or varies})
    return _checked(_without_empty(space), env_id, "")


def with_cells(env: gymnasium.Env[Any, Any]) -> spaces.Space[Any]:
    """Return an observation space with an image of cells as categories or bits, see `minigrid/cells.py`.

    Args:
        env: of MiniGrid or BabyAI, with all its wrappers.
    """
    space: spaces.Space[Any] = env.observation_space
    image = space.spaces.get("image") if isinstance(space, spaces.Dict) else space
    cells = None if image is None else importlib.import_module("lifelong.envs.minigrid.cells").cells(env, image)
    if cells is None:
        return space
    return spaces.Dict({**space.spaces, "image": cells}) if isinstance(space, spaces.Dict) else cells


def _without_empty(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return a space without the entries of its Dicts whose shape holds no number; as it is if nothing else is left."""
    if not isinstance(space, spaces.Dict):
        return space
    inner = {key: _without_empty(part) for key, part in space.spaces.items()}
    kept = {key: part for key, part in inner.items() if isinstance(part, spaces.Dict) or 0 not in (part.shape or ())}
    return spaces.Dict(kept) if kept else space


def _checked(space: spaces.Space[Any], env_id: str, entry: str) -> spaces.Space[Any]:
    """Return a space, the entries of its Dicts in alphabetical order, if all of them can be read."""
    if reason := refusal(space):
        where = f" of {entry!r}" if entry else ""
        raise ValueError(f"{env_id}: observations {brief(space)}{where} are not supported: {reason}")
    inner_of = f"{entry}/" if entry else ""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _checked(part, env_id, f"{inner_of}{key}") for key, part in space.spaces.items()})
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([_checked(part, env_id, f"{inner_of}{i}") for i, part in enumerate(space.spaces)])
    return space
