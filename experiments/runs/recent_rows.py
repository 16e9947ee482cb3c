"""Newest rows of a training, and the first meetings among the older ones: what a live retention curve is made of."""

import numpy as np

from lifelong.agents import join_rows
from lifelong.experiments.metrics.rows import Rows

__all__ = ["RecentRows"]


class RecentRows:
    """Keeps the newest rows, and of older ones the newest first meetings.

    Args:
        most: rows to keep, of either kind.
    """

    def __init__(self, most: int = 2**16) -> None:
        self.most = most
        self._tables: list[Rows] = []
        self._first: list[Rows] = []

    def append(self, rows: Rows) -> None:
        """Add rows, the newest yet."""
        self._tables.append(rows)
        while len(self._tables) > 1 and _count(self._tables) - _count(self._tables[:1]) >= self.most:
            old = self._tables.pop(0)
            first = old["lag_episodes"] < 0
            if first.any():
                self._first.append({name: column[first] for name, column in old.items()})
        while len(self._first) > 1 and _count(self._first) - _count(self._first[:1]) >= self.most:
            self._first.pop(0)

    def rows(self) -> Rows:
        """Return all that is kept, the oldest first."""
        return join_rows([{**rows} for rows in (*self._first, *self._tables)])


def _count(tables: list[Rows]) -> int:
    return sum(int(np.size(rows["step"])) for rows in tables)
