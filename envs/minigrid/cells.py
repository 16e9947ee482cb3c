"""MiniGrid's images of cells as categories, whatever wrappers are around the environment.

The outermost wrapper that changes `image` says what it holds:

| wrapper | `image` |
| --- | --- |
| none, `ViewSizeWrapper` | [S, S, 3]: object type, colour, state of each cell in view |
| `FullyObsWrapper` | [W, H, 3]: the same of the whole grid; the agent's state is its direction, 0 to 3 |
| `SymbolicObsWrapper` | [W, H, 3]: x, y (constant in each cell), object type or -1 for none |
| `OneHotPartialObsWrapper` | [S, S, 20] bits |
| `RGBImgObsWrapper`, `RGBImgPartialObsWrapper` | pixels |
| `FlatObsWrapper` | [N]: the image's categories, then the bits of the mission's characters |
| any other that makes observations of its own | as its space says: no categories |

`ImgObsWrapper` makes the image the whole observation. Wrappers of rewards, actions and time change nothing.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.wrappers import (
    DictObservationSpaceWrapper,
    DirectionObsWrapper,
    FlatObsWrapper,
    FullyObsWrapper,
    ImgObsWrapper,
    OneHotPartialObsWrapper,
    SymbolicObsWrapper,
    ViewSizeWrapper,
)

from lifelong.envs.minigrid.mission import MissionWords
from lifelong.envs.text_words import TextWords

__all__ = ["cells"]

_KEEPS_IMAGE = (DictObservationSpaceWrapper, DirectionObsWrapper, ImgObsWrapper, MissionWords, TextWords)
_DIRECTIONS = 4


def cells(env: gymnasium.Env[Any, Any], space: spaces.Space[Any]) -> spaces.Space[Any] | None:
    """Return the space of an image's categories or bits; None if it holds none.

    Args:
        env: of MiniGrid or BabyAI, with all its wrappers.
        space: of its image.
    """
    made = _image_maker(env)
    if type(made) is FlatObsWrapper:
        return _flat(made, space)
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return None
    side = getattr(made if isinstance(made, ViewSizeWrapper) else env.unwrapped, "agent_view_size", 0)
    objects, colours, states = len(OBJECT_TO_IDX), len(COLOR_TO_IDX), len(STATE_TO_IDX)
    if made is None or type(made) is ViewSizeWrapper:
        return _tiled(space, [objects, colours, states]) if space.shape == (side, side, 3) else None
    if type(made) is FullyObsWrapper:
        return _tiled(space, [objects, colours, max(states, _DIRECTIONS)])
    if type(made) is SymbolicObsWrapper:
        columns, rows = np.mgrid[: space.shape[0], : space.shape[1]]
        sizes = np.tile([1, 1, objects + 1], (*space.shape[:2], 1))
        return spaces.MultiDiscrete(sizes, np.int64, start=np.stack([columns, rows, np.full_like(rows, -1)], -1))
    if type(made) is OneHotPartialObsWrapper:
        return spaces.MultiBinary(space.shape)
    return None


def _image_maker(env: gymnasium.Env[Any, Any]) -> gymnasium.Wrapper[Any, Any, Any, Any] | None:
    """Return the outermost wrapper that changes the image; None if none does."""
    while isinstance(env, gymnasium.Wrapper):
        own_space = getattr(env, "_observation_space", None) is not None
        if (own_space or isinstance(env, gymnasium.ObservationWrapper)) and type(env) not in _KEEPS_IMAGE:
            return env
        env = env.env
    return None


def _flat(made: FlatObsWrapper, space: spaces.Space[Any]) -> spaces.Space[Any] | None:
    """Return the categories of an image and the bits behind them; None where the image holds no categories."""
    inner: Any = made.env.observation_space
    image = cells(made.env, inner["image"])
    if not isinstance(image, spaces.MultiDiscrete) or image.start.any():
        return None
    bits = (space.shape or (0,))[0] - image.nvec.size
    return spaces.MultiDiscrete(np.concatenate([image.nvec.reshape(-1), np.full(bits, 2)]), np.uint8)


def _tiled(space: spaces.Box, sizes: list[int]) -> spaces.Space[Any]:
    return spaces.MultiDiscrete(np.tile(sizes, (*space.shape[:2], 1)), np.uint8)
