"""Four moves on a grid; cells are (x, y), y grows southwards."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["EAST", "FAR", "MOVES", "NORTH", "SOUTH", "WEST", "distances", "walk_toward"]

NORTH, EAST, SOUTH, WEST = range(4)
MOVES = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)])
FAR = 10_000  # moves; more than there are on any way


def walk_toward(place: NDArray[np.int64], goal: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return moves [B] on shortest ways where nothing stands between: along x first, then along y.

    Args:
        place: [B, 2] where they are.
        goal: [B, 2] where they go; they are not there yet.
    """
    dx, dy = (goal - place).T
    return np.where(dx > 0, EAST, np.where(dx < 0, WEST, np.where(dy > 0, SOUTH, NORTH)))


def distances(passable: NDArray[np.bool_], target: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Return how many moves it is from every cell to the nearest target, [..., n, n]; `FAR` where there is no way.

    Args:
        passable: [..., n, n] cells that can be stepped on, [y, x]; those at the border are not.
        target: [..., n, n] cells where ways end.
    """
    away = np.where(target, 0, FAR).astype(np.int16)
    while True:
        near = away[..., 1:-1, 1:-1]
        beside = (away[..., :-2, 1:-1], away[..., 2:, 1:-1], away[..., 1:-1, :-2], away[..., 1:-1, 2:])
        nearer = np.minimum.reduce([near, *(there + 1 for there in beside)])
        nearer = np.where(passable[..., 1:-1, 1:-1], nearer, near).astype(np.int16)
        if np.array_equal(nearer, near):
            return away
        away[..., 1:-1, 1:-1] = nearer
