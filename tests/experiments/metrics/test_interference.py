"""Interference of simulated agents whose loss is known."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.experiments.metrics.interference import _margin, interference_curve

Rows = dict[str, NDArray[Any]]
STEPS = (0, 16, 64, 256)
CHANCE = 0.25


def asked(known: dict[int, float], lives: int = 100, tasks: int = 12, seed: int = 0) -> Rows:
    """Return answers of an agent that still knows a share of what it knew undisturbed, the same tasks for each n."""
    random = np.random.default_rng(seed)
    luck, guess = random.random((lives, tasks)), random.random((lives, tasks)) < CHANCE
    life, task = np.divmod(np.arange(lives * tasks), tasks)
    parts = [
        {
            "disturbed": np.full(life.size, n),
            "life": life,
            "task": task,
            "success": ((luck < share) | guess).ravel().astype(np.float32),
        }
        for n, share in known.items()
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_a_memory_that_noise_does_not_reach_loses_nothing() -> None:
    curve = interference_curve(asked(dict.fromkeys(STEPS, 1.0)), "recall", CHANCE)
    assert curve.steps == STEPS
    assert curve.rho == (1.0,) * 4
    assert curve.loss == (0.0,) * 4
    assert all(low < 0 < high for low, high in zip(curve.loss_low, curve.loss_high, strict=True))  # not surely nothing
    assert curve.half is None
    assert curve.count == (1200,) * 4


def test_where_nothing_was_retained_there_is_no_half() -> None:
    curve = interference_curve(asked(dict.fromkeys(STEPS, 0.0)), "recall", CHANCE)
    assert not curve.retained
    assert curve.half is None


def test_half_and_all_that_is_lost_is_found() -> None:
    truth = {0: 0.9, 16: 0.7, 64: 0.4, 256: 0.0}
    curve = interference_curve(asked(truth), "recall", CHANCE)
    errors = 4 * np.sqrt(0.25 / 1200) / 0.75
    assert np.abs(np.array(curve.rho) - [*truth.values()]).max() < errors
    assert np.abs(np.array(curve.loss) - [0, 0.2, 0.5, 0.9]).max() < errors
    assert curve.half == 64
    assert curve.retained
    assert curve.loss_low[1] > 0


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(200):
        curve = interference_curve(asked({0: 0.8, 64: 0.5}, lives=40, seed=seed), "recall", CHANCE)
        covered += curve.loss_low[1] <= 0.3 <= curve.loss_high[1]
    assert covered / 200 > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 200)


def test_the_index_has_references_row_by_row() -> None:
    rows = asked({0: 1.0, 16: 0.0}, tasks=2)
    rows["return"] = 2 * rows.pop("success")
    rows["within"], rows["cross"] = np.full(rows["life"].size, 0.5), np.where(rows["task"] == 0, 2.0, 1.0)
    curve = interference_curve(rows, "index")
    lost = rows["disturbed"] == 16
    assert curve.rho[0] == pytest.approx(1.5)  # 2 of 2 and of 1 that the best gets, above 1/2
    assert curve.rho[1] == pytest.approx((rows["return"][lost].mean() - 0.5) / 1.0)


def test_pairs_without_a_difference_have_the_score_interval() -> None:
    assert _margin(np.zeros(10), np.full(10, 5.0), 50) == pytest.approx(1.96**2 / (50 + 1.96**2), abs=1e-4)
    d = np.array([1.0, 0.0, 2.0, 1.0])
    three_degrees = 3.18245 * d.std(ddof=1) / 2 / 4
    assert _margin(d, np.full(4, 4.0), 16) == pytest.approx(three_degrees, abs=1e-4)


def test_questions_must_be_the_same_for_each_n() -> None:
    rows = asked(dict.fromkeys(STEPS, 0.5), lives=10)
    missing = {name: column[1:] for name, column in rows.items()}
    with pytest.raises(ValueError, match="every question must be asked once for each n: 120 questions, 4 n, 479 rows"):
        interference_curve(missing, "recall", CHANCE)


def test_few_questions_have_no_value() -> None:
    curve = interference_curve(asked(dict.fromkeys(STEPS, 0.5), lives=2), "recall", CHANCE)
    assert np.isnan(curve.rho).all()
    assert curve.reason == "too few questions of tasks met before"
