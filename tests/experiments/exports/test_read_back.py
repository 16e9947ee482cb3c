"""What the programs that exports are for say of them, and what our own functions say.

The numbers were printed by `read_back.py` from exports of the fixture's runs, with l2metrics 3.1.0 (l2logger 1.8.2,
numpy 1.26.4, pandas 2.1.4), rliable 1.2.0, and the checkouts 73f63bb of awarelab/continual_world and f2754bb of
AGI-Labs/continual_rl.

READERS_PYTHON names a Python that has l2metrics and rliable; then `pytest -m slow` runs them. They want numpy < 2, so
they cannot stand in one environment with us.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.experiments.export import ExportConfig, main
from lifelong.experiments.exports.blocks import Blocks, blocks_of
from lifelong.experiments.exports.source import Source, open_source
from lifelong.experiments.metrics.aggregate import interquartile_mean, optimality_gap, probability_of_improvement
from lifelong.experiments.metrics.learning_blocks import (
    backward_contrast,
    forward_contrast,
    performance_maintenance,
)
from lifelong.experiments.metrics.matrix import forgetting_of_end, isolated_forgetting

NAN = np.nan
ALONE = ("empty-5x5", "lavagaps5", "empty-8x8")
L2METRICS = {  # raw returns, neither normalised nor smoothed; tasks in the order of ALONE
    "maintenance": [0.08428125000000002, 0.2867125, 0.0039950384848484975],
    "lifetime maintenance": 0.12499626282828284,
    "forward": [[NAN, 1.0, 1.0], [NAN, NAN, -0.05007846478484618], [NAN, NAN, NAN]],
    "lifetime forward": 0.649973845071718,
    "backward": [
        [NAN, 0.31128261668504226, 0.004678250339866021],
        [-0.13873694679264043, NAN, 0.002750350598347501],
        [-6.070109484008509e-17, -1.0, NAN],
    ],
    "lifetime backward": -0.13667095486156414,
}
L2METRICS_DEFAULT = 12.499626282828281  # maintenance of returns that it brings from [0, 1] to [1, 101]
RLIABLE = {
    "gated_delta": {"iqm": 0.9944048915058374, "optimality_gap": 0.12457216499994195},
    "gru": {"iqm": 0.9983834624290466, "optimality_gap": 0.023711093701422215},
}
RLIABLE_IMPROVEMENT = 0.5  # gru over gated_delta
CONTINUAL_WORLD = {
    "performance": [1.0] * 9,
    "own": [0.9, 0.7, 1.0, 1.0, 0.7, 1.0, 1.0, 0.9, 1.0],
    "forgetting": [-0.1, -0.3, 0.0, 0.0, -0.3, 0.0, 0.0, -0.1, 0.0],
}
CORA = [  # row: block, column: task; NaN where it gives none
    [NAN, NAN, NAN],
    [-0.35811519749328447, NAN, NAN],
    [0.004712012508112928, -0.09424081188143407, NAN],
    [-0.04712037473409614, 0.49057591257053246, -0.0219422745329515],
]


@pytest.fixture(scope="module")
def source(runs: Path) -> Source:
    return open_source(runs / "gated_delta0")


@pytest.fixture(scope="module")
def blocks(source: Source) -> Blocks:
    return blocks_of(source)


def matrix(source: Source, blocks: Blocks, column: str) -> NDArray[np.float64]:
    """Return [evaluations, tasks] the mean of a column."""
    rows = source.evaluations
    cell = [[(rows["train_step"] == step) & (rows["task"] == task) for task in range(3)] for step in blocks.steps]
    return np.array([[rows[column][mine].mean(dtype=np.float64) for mine in line] for line in cell])


def test_maintenance_and_transfer_are_those_of_l2metrics(source: Source, blocks: Blocks) -> None:
    R, trained = matrix(source, blocks, "return"), blocks.trained(np.arange(3))
    ours = {
        "maintenance": performance_maintenance(R, trained),
        "forward": forward_contrast(R, trained),
        "backward": backward_contrast(R, trained),
    }
    for name, values in ours.items():
        np.testing.assert_allclose(values, L2METRICS[name], atol=1e-6)
        assert np.nanmean(values) == pytest.approx(L2METRICS[f"lifetime {name}"], abs=1e-6)
    assert 100 * np.nanmean(ours["maintenance"]) == pytest.approx(L2METRICS_DEFAULT, abs=1e-4)


def test_aggregates_are_those_of_rliable(runs: Path, tmp_path: Path) -> None:
    names = ("gated_delta0", "gated_delta1", "gru0", "gru1")
    main(ExportConfig(tuple(runs / name for name in names), "rliable", tmp_path))
    scores = dict(np.load(tmp_path / "scores.npz"))
    for name, theirs in RLIABLE.items():
        assert float(interquartile_mean(scores[name])) == pytest.approx(theirs["iqm"], abs=1e-6)
        assert optimality_gap(scores[name]) == pytest.approx(theirs["optimality_gap"], abs=1e-6)
    assert probability_of_improvement(scores["gru"], scores["gated_delta"]) == RLIABLE_IMPROVEMENT


def test_forgetting_is_that_of_continual_world(source: Source, blocks: Blocks) -> None:
    R = matrix(source, blocks, "success")[:, [0, 1, 2] * 3]
    last = [np.flatnonzero(blocks.visit[blocks.after] == visit)[-5:] for visit in range(9)]
    windows = np.array([R[k].mean(0) for k in [*last, np.arange(72)[-5:]]])
    np.testing.assert_allclose(np.diag(windows), CONTINUAL_WORLD["own"], atol=1e-6)
    np.testing.assert_allclose(forgetting_of_end(windows), CONTINUAL_WORLD["forgetting"], atol=1e-6)


def test_isolated_forgetting_is_that_of_cora(source: Source, blocks: Blocks) -> None:
    R = matrix(source, blocks, "return")
    ends = R[blocks.steps % 4096 == 0]
    found = isolated_forgetting(ends, np.zeros(3)) / R.max(0)
    theirs = np.array(CORA)
    np.testing.assert_allclose(found[: len(theirs)][~np.isnan(theirs)], theirs[~np.isnan(theirs)], atol=1e-6)


def read_back(*words: str | Path) -> Any:
    """Return what a program says, run by the Python that has it."""
    python = os.environ.get("READERS_PYTHON")
    if not python:
        pytest.skip("READERS_PYTHON names no Python with l2metrics and rliable")
    command = [python, str(Path(__file__).with_name("read_back.py")), *map(str, words)]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_l2metrics_reads_the_export(runs: Path, tmp_path: Path) -> None:
    main(ExportConfig(tuple(runs / name for name in ("gated_delta0", *ALONE)), "l2logger", tmp_path))
    found = read_back("l2metrics", tmp_path / "lifetimes" / "gated_delta0", tmp_path / "single_task")
    raw = found["raw"]
    assert list(raw["maintenance"].values()) == pytest.approx(L2METRICS["maintenance"], abs=1e-6)
    assert raw["forward_transfer_contrast"] == pytest.approx(L2METRICS["lifetime forward"], abs=1e-6)
    assert raw["backward_transfer_contrast"] == pytest.approx(L2METRICS["lifetime backward"], abs=1e-6)
    assert found["default"]["perf_maintenance_mrlep"] == pytest.approx(L2METRICS_DEFAULT, abs=1e-4)
    assert found["default"]["sample_efficiency"] > 0  # it has found the single-task runs


@pytest.mark.slow
def test_rliable_reads_the_export(runs: Path, tmp_path: Path) -> None:
    names = ("gated_delta0", "gated_delta1", "gru0", "gru1")
    main(ExportConfig(tuple(runs / name for name in names), "rliable", tmp_path))
    found = read_back("rliable", tmp_path / "scores.npz")
    for name, theirs in RLIABLE.items():
        assert {kind: found["methods"][name][kind] for kind in theirs} == pytest.approx(theirs, abs=1e-6)
    assert found["improvement"]["gru > gated_delta"] == RLIABLE_IMPROVEMENT
