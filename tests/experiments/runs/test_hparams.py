"""What TensorBoard's own backend of the HParams page says of runs."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.get_experiment import Handler as GetExperiment
from tensorboard.plugins.hparams.list_session_groups import Handler

from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.metrics.half_life import HalfLife
from lifelong.experiments.metrics.matrix import final_average, performance_matrix
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.tensorboard import FINAL_METRICS, FIRST_SETTINGS, RunWriter, final_scalars
from lifelong.experiments.train import main

CURVE = RetentionCurve(
    "recall", (0.9, 0.8), (0.8, 0.7), (1.0, 0.9), (0.9, 0.8), (90, 90), area=0.85, half_life=HalfLife(8.0), lived=20
)


def backend_of(logdir: Path) -> Any:
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    return Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(logdir)), logdir=str(logdir)))


def sessions(logdir: Path) -> dict[str, Any]:
    """Return the sessions that the page lists, by name of the run."""
    backend = backend_of(logdir)
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING]
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=100, allowed_statuses=statuses)
    found = Handler(context.RequestContext(), backend, "", request).run()
    return {session.name: session for group in found.session_groups for session in group.sessions}


def metrics(session: Any) -> dict[str, float]:
    return {metric.name.tag: metric.value for metric in session.metric_values}


def write(folder: Path, *, finished: bool = True, curve: RetentionCurve | None = CURVE, index: float = 0.7) -> None:
    with RunWriter(folder, {"memory": "gru", "ppo": {"lr": 0.1}}) as writer:
        writer.scalars({"charts/episodic_return": 0.2}, 10)
        writer.retention(replace(CURVE, area=0.1, half_life=HalfLife(1.0)), 10)  # while training
        writer.scalars({"charts/episodic_return": 0.4}, 20)
        if finished:
            writer.finish(final_scalars(curve, curve and replace(curve, area=0.5), index), 20)


def test_a_finished_run_shows_its_final_metrics(tmp_path: Path) -> None:
    write(tmp_path / "run")
    session = sessions(tmp_path)["run"]
    assert session.status == api_pb2.STATUS_SUCCESS
    assert metrics(session) == pytest.approx({
        "retention/area": 0.85, "retention/first_exposure_area": 0.5, "retention/half_life": 8.0,
        "retention/memory_index": 0.7, "charts/episodic_return": 0.4,
    })  # fmt: skip


def test_the_page_begins_with_the_settings_that_matter(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run", TrainConfig().resolved().to_json()):
        pass
    found = GetExperiment(context.RequestContext(), backend_of(tmp_path), "", api_pb2.GetExperimentRequest()).run()
    assert {info.name for info in found.hparam_infos[:5]} == set(FIRST_SETTINGS)
    assert [info.name.tag for info in found.metric_infos] == list(FINAL_METRICS)


def test_an_interrupted_run_is_not_said_to_be_finished(tmp_path: Path) -> None:
    write(tmp_path / "run", finished=False)
    session = sessions(tmp_path)["run"]
    assert session.status != api_pb2.STATUS_SUCCESS
    assert metrics(session)["retention/area"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("curve", "absent"),
    [
        (None, ["retention/first_exposure_area"]),
        (replace(CURVE, area=math.nan, half_life=HalfLife()), ["transfer/forgetting"]),
        (replace(CURVE, half_life=HalfLife(math.inf, 40.0, math.inf)), ["transfer/final_average"]),
    ],
)
def test_what_was_not_measured_is_absent(tmp_path: Path, curve: RetentionCurve | None, absent: list[str]) -> None:
    with RunWriter(tmp_path / "run", {"memory": "gru"}) as writer:
        writer.scalars({"charts/episodic_return": 0.4}, 20)
        writer.finish(final_scalars(curve, curve, math.nan), 20)
    found = metrics(sessions(tmp_path)["run"])
    assert not set(absent) & set(found)
    assert not {"retention/half_life", "retention/memory_index"} & set(found)
    assert all(map(math.isfinite, found.values()))


def test_every_final_metric_of_a_trained_run_is_one_of_the_page(tiny: Callable[..., TrainConfig]) -> None:
    outcome = main(tiny(evaluation_lives=64, life_episodes=32))
    assert outcome.summary is not None
    session = sessions(outcome.folder.parent)["tiny"]
    found = metrics(session)
    assert session.status == api_pb2.STATUS_SUCCESS
    assert set(found) <= set(FINAL_METRICS)
    assert found["retention/area"] == pytest.approx(outcome.summary.curve.area, rel=1e-6)
    assert found["retention/memory_index"] == pytest.approx(outcome.summary.index, rel=1e-6)
    assert "charts/episodic_return" in found, "even of a run that is over before the first look at its rows"
    assert "transfer/final_average" not in found


def test_a_task_sequence_shows_its_performance_matrix(tiny: Callable[..., TrainConfig]) -> None:
    folder = main(
        tiny(
            stream="rooms", stream_options=("task=empty-5x5,empty-6x6",), schedule="block:2", life_episodes=0,
            evaluate_every="320", steps=640, num_envs=4, segment=16,
        )
    ).folder  # fmt: skip
    found = metrics(sessions(folder.parent)["tiny"])
    assert {"transfer/final_average", "transfer/forgetting", "charts/episodic_return"} <= set(found)
    _, _, R = performance_matrix(read_episodes(folder, ["probe"]))
    assert found["transfer/final_average"] == pytest.approx(final_average(R), rel=1e-6)


def test_a_resumed_run_is_finished_too(tmp_path: Path) -> None:
    write(tmp_path / "run", finished=False)
    with RunWriter(tmp_path / "run", purge_step=20) as writer:
        writer.scalars({"charts/episodic_return": 0.6}, 30)
        writer.finish(final_scalars(CURVE, CURVE, 0.7), 30)
    session = sessions(tmp_path)["run"]
    assert session.status == api_pb2.STATUS_SUCCESS
    assert metrics(session)["charts/episodic_return"] == pytest.approx(0.6)
