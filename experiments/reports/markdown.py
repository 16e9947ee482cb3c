"""A report as Markdown: one line for each line of a table, so that two reports can be compared line by line."""

import re
from collections.abc import Iterable

from lifelong.experiments.reports.document import Block, Bullets, Code, Heading, Paragraph, Picture, Table, numbered

__all__ = ["markdown", "markdown_table"]

_SPECIAL = re.compile(r"([\\`*\[\]|$])|(?<!\w)_|_(?!\w)")  # an underscore inside of a word is one


def markdown(blocks: Iterable[Block], page: str) -> str:
    """Return a report as Markdown.

    Args:
        blocks: of the report.
        page: name of the HTML file that holds the pictures.
    """
    return "\n\n".join(_written(block, label, page) for block, label in numbered(blocks)) + "\n"


def markdown_table(table: Table) -> str:
    """Return a table without its caption."""
    rule = ["---" if column < table.text_columns else "---:" for column in range(len(table.heading))]
    lines = [_cells(table.heading), f"| {' | '.join(rule)} |", *map(_cells, table.lines)]
    return "\n".join(lines)


def _written(block: Block, label: str, page: str) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_escaped(block.text)}"
        case Paragraph():
            return _escaped(block.text)
        case Bullets():
            return "\n".join(f"- {_escaped(item)}" for item in block.items)
        case Code():
            longest = max((len(run) for run in re.findall(r"`+", block.text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}console\n{block.text}\n{fence}"
        case Table():
            return f"**{label}.** {_escaped(block.caption)}\n\n{markdown_table(block)}"
        case Picture():
            return f"**{label}** (in {_escaped(page)}). {_escaped(block.caption)}"


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """Return text on one line in which nothing is markup."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\g<0>", line)
