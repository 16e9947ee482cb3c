"""The image of MiniGrid's observations as categories."""

from typing import Any

import numpy as np
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

__all__ = ["with_categories"]


def with_categories(space: spaces.Space[Any], view_size: int) -> spaces.Space[Any]:
    """Return an observation space whose `image`, if it is the agent's view, is MultiDiscrete: object, colour, state.

    Args:
        space: of an environment of MiniGrid or BabyAI.
        view_size: cells along a side of the view.
    """
    shape = (view_size, view_size, 3)
    if not isinstance(space, spaces.Dict):
        return space
    image = space.spaces.get("image")
    if not isinstance(image, spaces.Box) or image.shape != shape:
        return space
    sizes = [len(table) for table in (OBJECT_TO_IDX, COLOR_TO_IDX, STATE_TO_IDX)]
    return spaces.Dict({**space.spaces, "image": spaces.MultiDiscrete(np.tile(sizes, (*shape[:2], 1)), np.uint8)})
