"""TensorBoard events of a run."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2

from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.runs.tensorboard import BY_LAG, GROUPS, RunWriter, first_page, learning_scalars, plot_curves

NAN = math.nan
CURVE = RetentionCurve(
    measure="recall",
    rho=(1.0, 0.75, NAN, 0.5),
    low=(1.0, 0.5, NAN, NAN),
    high=(1.0, 1.0, NAN, NAN),
    score=(1.0, 0.8, 1.0, 0.6),
    count=(90, 60, 3, 40),
    area=0.75,
    area_low=0.5,
    area_high=1.0,
    minimum=30,
)


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def tags(events: EventAccumulator, kind: str = "scalars") -> list[str]:
    return list(events.Tags()[kind])


def test_the_curve_is_drawn_over_the_lag(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.retention(CURVE, None)
    events = read(tmp_path / BY_LAG)
    assert points(events, "Retention/by log2 lag in episodes") == [(0, 1.0), (1, 0.75), (3, 0.5)]
    assert points(events, "Retention/by plain lag in episodes") == [(1, 1.0), (2, 0.75), (8, 0.5)]
    assert points(events, "retention_interval/low") == [(0, 1.0), (1, 0.5), (3, 0.5)]
    assert points(events, "retention_interval/high") == [(0, 1.0), (1, 1.0), (3, 0.5)]
    assert "retention/area" not in [*tags(events), *tags(read(tmp_path))]


def test_the_newest_curve_by_lag_is_the_only_one(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.retention(replace(CURVE, rho=(0.1, 0.2, 0.3, 0.4)), 1000)
        writer.retention(CURVE, 2000)
    (file,) = (tmp_path / BY_LAG).iterdir()
    values = [v.simple_value for event in EventFileLoader(str(file)).Load() for v in event.summary.value
              if v.tag == "Retention/by plain lag in episodes"]  # fmt: skip
    assert len(values) == 3
    assert points(read(tmp_path / BY_LAG), "Retention/by plain lag in episodes") == [(1, 1.0), (2, 0.75), (8, 0.5)]


def test_no_curve_is_a_sentence(tmp_path: Path) -> None:
    nothing = RetentionCurve("gain", (), (), (), (), (), reason="nothing to remember: a: first meeting 0.97")
    with RunWriter(tmp_path) as writer:
        writer.retention(nothing, 1000)
        writer.retention(nothing, 2000)  # said once
    assert not (tmp_path / BY_LAG).exists()
    events: Any = read(tmp_path)
    assert tags(events) == []
    (text,) = events.Tensors("Retention/why there is no curve/text_summary")
    assert b"first meeting 0.97" in text.tensor_proto.string_val[0]


def test_bins_are_drawn_over_training(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.retention(CURVE, 1000)
        writer.retention(CURVE, 2000)
    events = read(tmp_path)
    assert points(events, "retention/lag_0001") == [(1000, 1.0), (2000, 1.0)]
    assert points(events, "retention/lag_0008-0015") == [(1000, 0.5), (2000, 0.5)]
    assert points(events, "retention/area") == [(1000, 0.75), (2000, 0.75)]
    assert "retention/lag_0004-0007" not in tags(events)


def test_retention_comes_first_in_the_order_of_tags(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.scalars({f"{group}/x": 1.0 for group in GROUPS}, 1)
        writer.retention(CURVE, 1)
    assert min(tags(read(tmp_path)) + tags(read(tmp_path / BY_LAG))) == "Retention/by log2 lag in episodes"


def test_scalars_leave_out_what_is_not_known_and_refuse_unknown_groups(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.scalars({"train/reward": 0.5, "memory/norm": NAN}, 7)
        with pytest.raises(ValueError, match=r"tags begin with retention, .* and a slash: loss"):
            writer.scalars({"train/entropy": 1.0, "loss": 1.0}, 7)
    events = read(tmp_path)
    assert tags(events) == ["train/reward"]
    assert points(events, "train/reward") == [(7, 0.5)]


def test_the_layout_begins_with_the_curve_and_its_interval(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.retention(CURVE, 1)
    events: Any = read(tmp_path)
    layout = layout_pb2.Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    (chart,) = layout.category[0].chart  # alone: beside others, TensorBoard would put it behind them
    (series,) = chart.margin.series
    assert {series.value, series.lower, series.upper} <= set(tags(read(tmp_path / BY_LAG)))


def test_a_resumed_run_hides_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        for step in (1000, 2000, 3000):
            writer.scalars({"train/reward": 0.0}, step)
    with RunWriter(tmp_path, purge_step=2000) as writer:
        writer.scalars({"train/reward": 1.0}, 2000)
    assert points(read(tmp_path), "train/reward") == [(1000, 0.0), (2000, 1.0)]


def test_the_config_is_in_the_run_itself(tmp_path: Path) -> None:
    config = {"memory": {"name": "palimpsa", "num_heads": 2}, "lr": 0.003, "resume": None, "folder": Path("runs")}
    with RunWriter(tmp_path, config):
        pass
    assert [path.is_dir() for path in tmp_path.iterdir()] == [False]
    events: Any = read(tmp_path)
    (text,) = events.Tensors("config/text_summary")
    assert b'"name": "palimpsa"' in text.tensor_proto.string_val[0]
    assert events.PluginTagToContent("hparams")


def test_figures_are_images_and_files(tmp_path: Path) -> None:
    figure = plot_curves({"palimpsa": CURVE, "none": CURVE}, tmp_path / "report" / "curves.png", "two runs")
    with RunWriter(tmp_path / "run") as writer:
        writer.figure("retention_figure/curves", figure, 5)
    assert tags(read(tmp_path / "run"), "images") == ["retention_figure/curves"]
    assert (tmp_path / "report" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["palimpsa  (area 0.75)", "none  (area 0.75)"]


def test_no_curves_make_an_empty_figure() -> None:
    assert not plot_curves({}).legends


def test_the_first_page_does_not_smooth() -> None:
    assert first_page("http://host:1") == "http://host:1/?smoothing=0#timeseries"


def test_losses_have_the_tags_that_people_search_for() -> None:
    learned = dict.fromkeys(
        ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "explained_variance", "lr"), 0.0
    )
    assert set(learning_scalars(learned)) == {
        *(f"losses/{name}" for name in ("policy_loss", "value_loss", "entropy", "approx_kl", "clipfrac")),
        "losses/explained_variance",
        "train/lr",
    }
