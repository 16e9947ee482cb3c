"""Figures: what is drawn, and that a paper's rules are kept."""

import re
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text

from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.reports.figures import HeatMap, Panel, curves_figure, heat_maps_figure, save_figure, svg
from lifelong.experiments.reports.groups import Agent
from lifelong.experiments.reports.measure import CURVES

REHEARSED = CURVES[1]


def agent(name: str, *rho: tuple[float, ...]) -> Agent:
    """Return an agent with a curve for each seed."""
    seeds: list[Any] = []
    for values in rho:
        ends = tuple(value - 0.1 for value in values), tuple(value + 0.1 for value in values)
        curve = RetentionCurve("recall", values, *ends, values, (50,) * len(values))
        seeds.append(SimpleNamespace(summary=SimpleNamespace(curve=curve)))
    return Agent(name, tuple(seeds))


def axes_of(*agents: Agent, of_lives: bool = False) -> Any:
    return curves_figure([Panel("panel", agents, REHEARSED)], of_lives=of_lives).axes[0]


def lines(axes: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {line.get_label(): line.get_ydata() for line in axes.lines if not line.get_label().startswith("_")}


def test_a_line_is_the_mean_where_all_seeds_have_a_value() -> None:
    axes = axes_of(agent("a", (1.0, 0.5, np.nan), (0.8, 0.7)))
    np.testing.assert_allclose(lines(axes)["a"], [0.9, 0.6, np.nan])
    assert not axes.collections, "two seeds have no band"
    points = [line.get_ydata() for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(points, [[1.0, 0.5, np.nan], [0.8, 0.7, np.nan]])


def test_ten_seeds_have_a_band_and_no_points() -> None:
    rng = np.random.default_rng(0)
    axes = axes_of(agent("a", *(tuple(0.5 + 0.01 * rng.normal(size=2)) for _ in range(10))))
    assert len(axes.collections) == 1
    assert not [line for line in axes.lines if line.get_marker() == "o"]


def test_the_band_over_lives_is_only_of_a_single_run() -> None:
    assert not axes_of(agent("a", (0.5, 0.4))).collections
    assert len(axes_of(agent("a", (0.5, 0.4)), of_lives=True).collections) == 1


def test_an_agent_keeps_its_colour_in_every_panel() -> None:
    a, b = agent("a", (0.5,)), agent("b", (0.4,))
    figure = curves_figure([Panel("one", [a, b], REHEARSED), Panel("two", [b], REHEARSED)])
    colours = [{line.get_label(): line.get_color() for line in axes.lines} for axes in figure.axes]
    assert colours[0]["b"] == colours[1]["b"] != colours[0]["a"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_an_agent_without_a_value_is_left_out() -> None:
    assert set(lines(axes_of(agent("a", (0.5,)), agent("nothing", ())))) == {"a"}
    assert set(lines(axes_of(agent("a", (0.5,)), agent("nothing", (np.nan,))))) == {"a"}


@pytest.mark.parametrize("name", ["$x^2", "日本", "a_b", "<i>", "\\frac{1}{2}$"])
def test_names_are_drawn_as_they_are(name: str) -> None:
    assert svg(curves_figure([Panel(name, [agent(name, (0.5, 0.4))], REHEARSED)])).startswith(b"<?xml")


def test_no_letter_is_below_8_points() -> None:
    figure = curves_figure([Panel("panel", [agent("a", (0.5, 0.4), (0.6, 0.3))], REHEARSED)], width=5.5)
    maps = [HeatMap("map", ["1", "2"], ["a", "b"], np.array([[0.1, np.nan], [0.3, 1.2]]))]
    for one in (figure, heat_maps_figure(maps, "x", "y")):
        sizes = {text.get_fontsize() for text in one.findobj(Text) if text.get_text()}
        assert min(sizes) >= 8.0


def test_a_pdf_holds_true_type_vectors_and_no_date(tmp_path: Path) -> None:
    figure = curves_figure([Panel("panel", [agent("a", (0.5, 0.4))], REHEARSED)])
    save_figure(figure, tmp_path / "a.pdf")
    raw = (tmp_path / "a.pdf").read_bytes()
    text = raw + b"".join(
        zlib.decompress(stream) for stream in re.findall(rb"FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", raw, re.S)
    )
    assert b"/Type3" not in text
    assert b"/FontFile2" in text or b"/CIDFontType2" in text
    assert b"/Image" not in re.sub(rb"/Image[BCI]\b", b"", text)
    assert b"CreationDate" not in text


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_the_same_figure_is_the_same_file(suffix: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_figure(curves_figure([Panel("p", [agent("a", (0.5, 0.4))], REHEARSED)]), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_heat_map_leaves_blank_what_has_no_value_and_spans_0_and_1() -> None:
    values = np.array([[0.25, np.nan], [0.5, 0.75]])
    axes, colours = heat_maps_figure([HeatMap("map", ["1", "2"], ["a", "b"], values)], "x", "y").axes
    assert [text.get_text() for text in axes.texts] == ["0.25", "0.50", "0.75"]
    assert colours.get_ylim() == (0.0, 1.0)
