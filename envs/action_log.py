"""Actions of the unfinished episodes of B lives, by step: appending and looking cost the same however long they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ActionLog"]

_FIRST = 64  # steps there is room for at first


class ActionLog:
    """Record of actions that only grows: what `of` returned stays as it is, whatever is appended later.

    Args:
        num_envs: B.
        row: an action, of which shape and dtype count.
    """

    def __init__(self, num_envs: int, row: NDArray[Any]) -> None:
        self._steps = np.empty((_FIRST, num_envs, *row.shape), row.dtype)
        self._count, self._began = 0, np.zeros(num_envs, np.int64)

    def begin(self, slot: int) -> None:
        """Begin an episode: the slot's actions so far are forgotten."""
        self._began[slot] = self._count

    def append(self, actions: NDArray[Any]) -> None:
        """Add a step's actions [B, ...]."""
        if self._count == len(self._steps):
            self._make_room()
        self._steps[self._count] = actions
        self._count += 1

    def of(self, slot: int) -> NDArray[Any]:
        """Return [n, ...] the actions of a slot's episode: a view."""
        return self._steps[self._began[slot] : self._count, slot]

    def restore(self, taken: Sequence[NDArray[Any]]) -> None:
        """Set the actions of all slots' episodes.

        Args:
            taken: [n, ...] of each slot.
        """
        self._count = max(map(len, taken))
        self._steps = np.empty((max(self._count, _FIRST), *self._steps.shape[1:]), self._steps.dtype)
        for slot, actions in enumerate(taken):
            self._began[slot] = self._count - len(actions)
            self._steps[self._began[slot] : self._count, slot] = actions

    def _make_room(self) -> None:
        """Go on in new memory, with room for twice the steps of the longest episode."""
        first = int(self._began.min())
        kept = self._steps[first : self._count]
        self._steps = np.empty((max(2 * len(kept), _FIRST), *kept.shape[1:]), kept.dtype)
        self._steps[: len(kept)] = kept
        self._count, self._began = len(kept), self._began - first
