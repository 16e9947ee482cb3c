"""Tables that are continued below, under the same labels, where they are too wide for the screen."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

__all__ = ["Column", "stacked_tables"]

_LONGEST_LABEL = 32  # a longer one is folded
_EDGES = 3  # a border and a space on both sides


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Args:
        heading: of one line or several.
        cells: one for each line of the table.
    """

    heading: str
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        """Characters of the longest line, with its edges."""
        return max(len(line) for line in (*self.heading.splitlines(), *self.cells)) + _EDGES


def stacked_tables(
    title: str, label: Column, columns: Sequence[Column], width: int, *, right: bool = False
) -> list[Table]:
    """Return a table in as many parts as it takes to fit.

    Args:
        title: above the first part.
        label: of the lines, the first column of every part.
        columns: the others; one that does not fit beside the label has a part of its own all the same.
        width: of the screen, in characters.
        right: whether labels are numbers.
    """
    room = width - min(label.width, _LONGEST_LABEL + _EDGES) - 1
    parts: list[list[Column]] = [[]]
    for column in columns:
        if parts[-1] and sum(other.width for other in parts[-1]) + column.width > room:
            parts.append([])
        parts[-1].append(column)
    tables = []
    for number, part in enumerate(parts):
        table = Table(title=title if number == 0 else None, title_justify="left")
        table.add_column(label.heading, justify="right" if right else "left", overflow="fold", max_width=_LONGEST_LABEL)
        for column in part:
            table.add_column(column.heading, justify="right", no_wrap=True)
        for cells in zip(label.cells, *(column.cells for column in part), strict=True):
            table.add_row(*cells)
        tables.append(table)
    return tables
