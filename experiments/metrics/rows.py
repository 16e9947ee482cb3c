"""Rows of the episodes table as columns, and the lag bins and meetings that every measure counts."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "bin_edges", "bin_label", "join_runs", "lag_bins", "next_episode", "previous_meeting"]

Rows = Mapping[str, NDArray[Any]]
"""Columns of the episodes table by name, all of one length."""


def lag_bins(lag: NDArray[Any]) -> NDArray[np.int64]:
    """Return the bin of each lag: floor(log2(lag)), and -1 for lags below 1 (never met)."""
    return np.where(lag >= 1, np.frexp(np.maximum(lag, 1))[1] - 1, -1).astype(np.int64)


def bin_edges(number: int) -> tuple[int, int]:
    """Return the smallest and the largest lag of a bin."""
    return 2**number, 2 ** (number + 1) - 1


def bin_label(number: int) -> str:
    """Return the label of a bin: 1, 2-3, 4-7, ..."""
    low, high = bin_edges(number)
    return f"{low}" if low == high else f"{low}-{high}"


def previous_meeting(rows: Rows) -> NDArray[np.int64]:
    """Return for each row the index of the row in which its life last met its task; -1 if that is not in the table.

    Args:
        rows: `life`, `episode`, `task`, `lag_episodes`, and `mode` if there are several, in any order.
    """
    order = _order(rows, ("mode", "life", "task", "episode"))
    before = np.full(rows["life"].size, -1, np.int64)
    earlier, later = order[:-1], order[1:]
    same = _equal(rows, ("mode", "life", "task"), earlier, later)
    same &= rows["episode"][later] - rows["episode"][earlier] == rows["lag_episodes"][later]  # no row between is absent
    before[later[same]] = earlier[same]
    return before


def next_episode(rows: Rows) -> NDArray[np.int64]:
    """Return for each row the index of the row of its life's next episode; -1 if that is not in the table.

    Args:
        rows: `life`, `episode`, and `mode` if there are several, in any order.
    """
    order = _order(rows, ("mode", "life", "episode"))
    after = np.full(rows["life"].size, -1, np.int64)
    earlier, later = order[:-1], order[1:]
    same = _equal(rows, ("mode", "life"), earlier, later) & (rows["episode"][later] - rows["episode"][earlier] == 1)
    after[earlier[same]] = later[same]
    return after


def join_runs(tables: Iterable[Rows]) -> dict[str, NDArray[Any]]:
    """Concatenate the tables of several runs (seeds); lives are renumbered, so that all stay apart."""
    joined: list[dict[str, NDArray[Any]]] = []
    lives = 0
    for table in tables:
        joined.append({**table, "life": table["life"] + lives})
        lives += int(table["life"].max()) + 1 if table["life"].size else 0
    shared = [name for name in joined[0] if all(name in table for table in joined)] if joined else []
    return {name: np.concatenate([table[name] for table in joined]) for name in shared}


def _order(rows: Rows, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the order of rows by these columns, the first one slowest; a column that is absent counts as equal."""
    columns = [rows[name].astype(np.int64) for name in names if name in rows]
    if not columns[0].size:
        return np.zeros(0, np.int64)
    sizes = [int(column.max()) + 1 for column in columns]
    if math.prod(sizes) >= 2**63:
        return np.lexsort(columns[::-1])
    key = columns[0]  # one sort of whole numbers is several times faster than one by several columns
    for column, size in zip(columns[1:], sizes[1:], strict=True):
        key = key * size + column
    return np.argsort(key)


def _equal(
    rows: Rows, names: tuple[str, ...], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.bool_]:
    equal = np.ones(first.size, np.bool_)
    for name in names:
        if name in rows:
            equal &= rows[name][first] == rows[name][second]
    return equal
