"""A report as one HTML file: pictures inside, no script, nothing from a network; well-formed XML too."""

import base64
import html
import re
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources

from lifelong.experiments.reports.document import Block, Bullets, Code, Heading, Paragraph, Picture, Table, numbered

__all__ = ["page"]

_CONTROL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML has no character for
_WIDE = 104  # letters of a table from which on it is set in small print
_TEXT = 30  # letters of a line in a column of text


def page(blocks: Iterable[Block], title: str) -> str:
    """Return a report as an HTML page.

    Args:
        blocks: of the report.
        title: of the window.
    """
    blocks = list(blocks)
    style = resources.files("lifelong.experiments.reports").joinpath("page.css").read_text(encoding="utf-8")
    sections = [block.text for block in blocks if isinstance(block, Heading) and block.level == 2]
    body: list[str] = []
    headings = 0
    for block, label in numbered(blocks):
        if isinstance(block, Heading) and block.level == 2:
            if not headings and len(sections) > 1:
                body.append(_contents(sections))
            headings += 1
            body.append(f'<h2 id="section-{headings}">{_escaped(block.text)}</h2>')
        else:
            body.append(_written(block, label))
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8"/>',
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        '<meta name="color-scheme" content="light dark"/>',
        f"<title>{_escaped(title)}</title>",
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        "<main>",
        *body,
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _contents(sections: list[str]) -> str:
    links = (f'<li><a href="#section-{k}">{_escaped(text)}</a></li>' for k, text in enumerate(sections, 1))
    return f'<nav aria-label="Contents"><ol>{"".join(links)}</ol></nav>'


def _written(block: Block, label: str) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{_escaped(block.text)}</h{block.level}>"
        case Paragraph():
            return f"<p>{_escaped(block.text)}</p>"
        case Bullets():
            items = "".join(f"<li>{_escaped(item)}</li>" for item in block.items)
            kind = "warning" if block.warning else "plain"
            return f'<ul class="{kind}">{items}</ul>'
        case Code():
            return f"<pre><code>{_escaped(block.text)}</code></pre>"
        case Table():
            return _table(block, label)
        case Picture():
            return _picture(block, label)


def _table(table: Table, label: str) -> str:
    table = _folded(table)
    text = [column % (len(table.heading) // table.fold) < table.text_columns for column in range(len(table.heading))]
    kinds = [' class="text"' if is_text else "" for is_text in text]
    heading = "".join(
        f'<th scope="col"{kind}>{_escaped(cell)}</th>' for kind, cell in zip(kinds, table.heading, strict=True)
    )
    lines = []
    for line in table.lines:
        cells = "".join(f"<td{kind}>{_escaped(cell)}</td>" for kind, cell in zip(kinds, line, strict=True))
        lines.append(f"<tr>{cells}</tr>")
    body = "\n".join(lines)
    head = f"<thead><tr>{heading}</tr></thead>\n" if any(table.heading) else ""
    dense = " dense" if _width(table) > _WIDE else ""
    caption = f"<figcaption><b>{label}.</b> {_escaped(table.caption)}</figcaption>"
    rows = f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'
    return f'<figure class="table{dense}">{caption}\n{rows}</figure>'


def _width(table: Table) -> int:
    """Return the letters in a line of a table; long text has lines of its own."""
    columns = enumerate(zip(table.heading, *table.lines, strict=True))
    longest = ((column, max(map(len, cells[1:]), default=0)) for column, cells in columns)
    return sum(3 + (min(letters, _TEXT) if column < table.text_columns else letters) for column, letters in longest)


def _folded(table: Table) -> Table:
    """Return a table whose lines are set side by side, in `fold` parts."""
    if table.fold == 1:
        return table
    height = -(-len(table.lines) // table.fold)
    blank = ("",) * len(table.heading)
    lines = [*table.lines, *[blank] * (height * table.fold - len(table.lines))]
    folded = tuple(sum((lines[row + part * height] for part in range(table.fold)), ()) for row in range(height))
    return replace(table, heading=table.heading * table.fold, lines=folded)


def _picture(picture: Picture, label: str) -> str:
    data = base64.b64encode(picture.svg).decode("ascii")
    return (
        f'<figure><img style="width: {100 * picture.width:.0f}%" alt="{_escaped(picture.alt)}" '
        f'src="data:image/svg+xml;base64,{data}"/>'
        f"<figcaption><b>{label}.</b> {_escaped(picture.caption)}</figcaption></figure>"
    )


def _escaped(text: str) -> str:
    """Return text in which nothing is markup, and every character may stand in a page."""
    return html.escape(_CONTROL.sub("\ufffd", text))
