"""Simple pictures of observations, for streams that draw none of their own.

Every entry of an observation is a strip, one below the other in their order: a categorical number is a row of cells
with one of them lit; a pair of them, such as a place, is a cell lit in a grid; a matrix, or an image of several
channels, is a grid of grey cells; other numbers are a row of cells, black at -1 and below, white at 1 and above.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["draw"]

_CELL, _GAP, _WIDE = 16, 4, 32  # pixels of a cell's side, between strips; cells of a row, the rest goes below
_PAPER, _DARK = 60, 20  # grey of the ground, and of a cell that is not lit


def draw(space: gymnasium.Space[Any], obs: Any) -> NDArray[np.uint8]:
    """Return a picture [height, width, 3] of one observation.

    Args:
        space: of the observation.
        obs: in the space.
    """
    strips = [np.kron(cells, np.ones((_CELL, _CELL))) for cells in _grids(space, obs)]
    height = sum(len(strip) + _GAP for strip in strips) + _GAP
    width = max(strip.shape[1] for strip in strips) + 2 * _GAP
    picture, y = np.full((height, width), _PAPER, np.uint8), _GAP
    for strip in strips:
        picture[y : y + len(strip), _GAP : _GAP + strip.shape[1]] = strip.astype(np.uint8)
        y += len(strip) + _GAP
    return np.repeat(picture[..., None], 3, -1)


def _grids(space: gymnasium.Space[Any], obs: Any) -> list[NDArray[np.float64]]:
    """Return the cells [rows, columns] of every entry, as greys from 0 to 255."""
    if isinstance(space, spaces.Dict):
        return [cells for key, inner in space.spaces.items() for cells in _grids(inner, obs[key])]
    value = np.asarray(obs, np.float64)
    if isinstance(space, spaces.Discrete):
        return [_rows(_lit(int(space.n), int(value - space.start)))]
    if isinstance(space, spaces.MultiDiscrete):
        value = value - space.start
        if space.shape == (2,):  # x and y
            width, height = (int(n) for n in space.nvec)
            return [_lit(width * height, int(value[1]) * width + int(value[0])).reshape(height, width)]
        greys = _DARK + (255 - _DARK) * value / np.maximum(space.nvec - 1, 1)
    elif isinstance(space, spaces.Box) and space.dtype == np.uint8:
        greys = value
    else:
        greys = 255 * (np.clip(value, -1.0, 1.0) + 1) / 2
    if greys.ndim == 3:
        greys = greys.mean(-1)
    return [greys if greys.ndim == 2 else _rows(greys.ravel())]


def _lit(cells: int, one: int) -> NDArray[np.float64]:
    return np.where(np.arange(cells) == one, 255.0, _DARK)


def _rows(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a row of cells, folded where it is too long."""
    if cells.size <= _WIDE:
        return cells[None]
    return np.pad(cells, (0, -cells.size % _WIDE), constant_values=_PAPER).reshape(-1, _WIDE)
