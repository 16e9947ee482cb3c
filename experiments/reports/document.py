"""Blocks of a report, which `markdown.py` and `page.py` write down. All text is plain: the writers escape it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Block", "Bullets", "Code", "Heading", "Paragraph", "Picture", "Table", "numbered"]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list.

    Args:
        items: in their order.
        warning: whether they say what is missing.
    """

    items: tuple[str, ...]
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """Lines as they are typed."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Args:
        heading: names of the columns.
        lines: of cells, each as long as the heading.
        caption: what it shows, and of what its intervals are.
        text_columns: columns of text, from the left; the others hold numbers.
        fold: parts of the lines that a page sets side by side.
    """

    heading: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    caption: str
    text_columns: int = 1
    fold: int = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture.

    Args:
        svg: its file.
        caption: what it shows.
        alt: what it is, for those who do not see it.
        width: in the page, in parts of the text's width.
    """

    svg: bytes
    caption: str
    alt: str
    width: float = 1.0


Block = Heading | Paragraph | Bullets | Code | Table | Picture


def numbered(blocks: Iterable[Block]) -> Iterator[tuple[Block, str]]:
    """Yield each block with its label: `Table 1`, `Figure 2`, or nothing."""
    tables = figures = 0
    for block in blocks:
        label = ""
        if isinstance(block, Table):
            tables += 1
            label = f"Table {tables}"
        elif isinstance(block, Picture):
            figures += 1
            label = f"Figure {figures}"
        yield block, label
