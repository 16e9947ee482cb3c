"""Markdown and HTML: every name is text, pages are well formed, hold no script and reach for no network."""

import re
import xml.etree.ElementTree as ET

import pytest

from lifelong.experiments.reports.document import Block, Bullets, Code, Heading, Paragraph, Picture, Table
from lifelong.experiments.reports.markdown import markdown, markdown_table
from lifelong.experiments.reports.page import page

EVIL = ["<script>alert(1)</script>", "a|b", "`code`", "**bold**", "x & y &lt;", '"quoted"', "]]>", "\x00\x07\x1b[1m",
        "\ud800", "_under_ and gated_delta", "[link](http://x)", "$x^2$", "line\nbreak", "\\", "日本語 ñ"]  # fmt: skip


def blocks(text: str) -> list[Block]:
    return [
        Heading(text, 1),
        Paragraph(text),
        Heading(text),
        Bullets((text, text), warning=True),
        Table(("name", text), ((text, "1.0"), (text, text)), text),
        Picture(b"<svg/>", text, text),
        Heading(text),
        Code(text),
    ]


@pytest.mark.parametrize("text", EVIL)
def test_nothing_in_a_name_is_markup(text: str) -> None:
    written = page(blocks(text), text)
    written.encode("utf-8")
    body = ET.fromstring(written.removeprefix("<!DOCTYPE html>\n"))  # noqa: S314  our own
    tags = {element.tag for element in body.iter()}
    assert "script" not in tags
    assert "bold" not in "".join(tags)
    seen = re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\uffff]", "\ufffd", text)
    assert body.find("./body/main/h1").text == seen  # type: ignore[union-attr]
    identifiers = [element.get("id") for element in body.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers)) > 0
    assert {link.get("href") for link in body.iter("a")} == {f"#{name}" for name in identifiers}


@pytest.mark.parametrize("text", EVIL)
def test_every_line_of_a_table_has_its_cells(text: str) -> None:
    lines = markdown_table(Table(("name", text), ((text, "1.0"), (text, text)), text)).split("\n")
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [3, 3, 3, 3]
    assert "<" not in "".join(lines)


def test_markdown_escapes_what_would_be_markup_and_nothing_else() -> None:
    said = markdown([Paragraph("gated_delta _x_ a*b [0, 1] 95 % <b> c|d ± ρ")], "p.html")
    assert said == "gated_delta \\_x\\_ a\\*b \\[0, 1\\] 95 % &lt;b&gt; c\\|d ± ρ\n"


def test_a_fence_is_longer_than_what_is_inside() -> None:
    assert markdown([Code("a ``` b")], "p.html") == "````console\na ``` b\n````\n"


def test_tables_and_figures_are_numbered_alike_in_both() -> None:
    some = blocks("x")
    said, shown = markdown(some, "p.html"), page(some, "x")
    assert "**Table 1.**" in said
    assert "**Figure 1** (in p.html)." in said
    assert "<b>Table 1.</b>" in shown
    assert "<b>Figure 1.</b>" in shown


def test_a_page_is_one_file_without_script_or_network() -> None:
    shown = page(blocks("x"), "x")
    assert not re.search(r"https?:|<script|<link|url\(|@import|srcset", shown)
    assert re.findall(r'src="([^,]{0,30})', shown) == ["data:image/svg+xml;base64"]


def test_a_folded_table_keeps_every_line() -> None:
    lines = tuple((f"setting {k}", f"value {k}") for k in range(7))
    shown = page([Table(("setting", "value"), lines, "x", text_columns=2, fold=3)], "x")
    body = ET.fromstring(shown.removeprefix("<!DOCTYPE html>\n"))  # noqa: S314  our own
    cells = [cell.text for cell in body.iter("td")]
    assert len(cells) == 3 * 6
    assert {cell for cell in cells if cell} == {text for line in lines for text in line}
    assert cells[:6] == ["setting 0", "value 0", "setting 3", "value 3", "setting 6", "value 6"]
