"""Newest rows of a training, and the first meetings among the older ones: what a live retention curve is made of."""

from collections import deque

from lifelong.agents import join_rows
from lifelong.experiments.metrics.rows import Rows

__all__ = ["RecentRows"]


class RecentRows:
    """Keeps the newest rows, and of older ones the newest first meetings.

    Args:
        most: rows to keep, of either kind.
    """

    def __init__(self, most: int = 2**16) -> None:
        self._newest, self._first = _Queue(most), _Queue(most)

    def append(self, rows: Rows) -> None:
        """Add rows, the newest yet."""
        for old in self._newest.append(rows):
            first = old["lag_episodes"] < 0
            if first.any():
                self._first.append({name: column[first] for name, column in old.items()})

    def rows(self) -> Rows:
        """Return all that is kept, the oldest first."""
        return join_rows([*self._first.tables, *self._newest.tables])


class _Queue:
    """Tables in their order, the oldest of them removed as long as `most` rows are left."""

    def __init__(self, most: int) -> None:
        self.most, self.count = most, 0
        self.tables: deque[Rows] = deque()

    def append(self, rows: Rows) -> list[Rows]:
        """Add a table and return those that are removed."""
        self.tables.append(rows)
        self.count += rows["step"].size
        removed = []
        while len(self.tables) > 1 and self.count - self.tables[0]["step"].size >= self.most:
            self.count -= self.tables[0]["step"].size
            removed.append(self.tables.popleft())
        return removed
