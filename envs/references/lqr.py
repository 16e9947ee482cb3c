"""Linear-quadratic regulator (LQR) of an environment's step function: u = -K x near a state to be held.

The step is linearised by finite differences, so the environment is a black box; drifts of actions change the gains.

Source: the textbook solution by the algebraic Riccati equation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_are

__all__ = ["Controller", "Floats", "linearised", "lqr"]

Floats = NDArray[np.float64]
Controller = Callable[[Floats], NDArray[Any]]
"""Returns actions [B, ...] for observations [B, ...]."""

_STEP = 1e-4  # step of the differences around the held state


def linearised(
    after: Callable[[Floats, Any], Floats], size: int, actions: Sequence[tuple[Any, Any]]
) -> tuple[Floats, Floats]:
    """Return A [size, size] and B [size, n] of x' = A x + B u around 0.

    Args:
        after: returns the state after a state and an action.
        size: entries of a state.
        actions: for each entry of u the actions for -1 and 1 there and 0 elsewhere.
    """

    def mean(state: Floats) -> Floats:
        low, high = actions[0]
        return (after(state, low) + after(state, high)) / 2

    columns = [(mean(_STEP * unit) - mean(-_STEP * unit)) / (2 * _STEP) for unit in np.eye(size)]
    pushes = [(after(np.zeros(size), high) - after(np.zeros(size), low)) / 2 for low, high in actions]
    return np.stack(columns, 1), np.stack(pushes, 1)


def lqr(A: Floats, B: Floats, Q: Floats) -> Floats:
    """Return the gain K [n, size] of the LQR u = -K x, where a step costs x'Q x + u'u.

    Args:
        A: [size, size] from `linearised`.
        B: [size, n] too.
        Q: [size, size] state cost.
    """
    P = solve_discrete_are(A, B, Q, np.eye(B.shape[1]))
    gain: Floats = np.linalg.solve(np.eye(B.shape[1]) + B.T @ P @ B, B.T @ P @ A)
    return gain
