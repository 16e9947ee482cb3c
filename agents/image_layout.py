"""Images in spaces: which spaces hold one, and how its axes are read.

| Box | read as |
| --- | --- |
| [H, W] | one grey channel |
| [H, W, C]; [C, H, W] where H and W are not the first two | C channels |
| [N, H, W, C], [N, C, H, W], [H, W, C, N] | N images, stacked: N C channels |

H and W are 16 or more. Pixels are of uint8 with any bounds, or of any other type with the bounds 0 and 1, or 0 and 255.
They are scaled from their bounds to [0, 1].
"""

from typing import Any

import numpy as np
from gymnasium import spaces

__all__ = ["image_rows", "layout"]

_SMALLEST = 16
_CANDIDATES = {2: (0,), 3: (0, 1), 4: (1, 2, 0)}  # the axis of the rows, by the number of axes; columns are the next
_LAYOUTS = {
    (2, 0): "grey",
    (3, 0): "channels last",
    (3, 1): "channels first",
    (4, 0): "stacked last",
    (4, 1): "stacked, channels last",
    (4, 2): "stacked, channels first",
}


def image_rows(space: spaces.Space[Any]) -> int | None:
    """Return the axis of an image's rows, which its columns follow; None if a space is not that of an image.

    Args:
        space: an entry of an observation.
    """
    if not isinstance(space, spaces.Box) or not (space.dtype == np.uint8 or _bounds_of_pixels(space)):
        return None
    shape = space.shape
    return next((r for r in _CANDIDATES.get(len(shape), ()) if min(shape[r : r + 2]) >= _SMALLEST), None)


def layout(space: spaces.Space[Any]) -> str | None:
    """Return how an image's axes are read, in words; None if a space is not that of an image.

    Args:
        space: an entry of an observation.
    """
    rows = image_rows(space)
    return None if rows is None else _LAYOUTS[len(space.shape or ()), rows]


def _bounds_of_pixels(space: spaces.Box) -> bool:
    return bool((space.low == 0).all() and any((space.high == white).all() for white in (1, 255)))
