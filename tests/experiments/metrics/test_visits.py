import numpy as np
import pytest

from lifelong.experiments.metrics.visits import visit_scores


def rows(*episodes: tuple[int, int, int, float]) -> dict[str, np.ndarray]:
    """Return rows of (task, visit from 0, length, score)."""
    task, visit, length, score = map(np.array, zip(*episodes, strict=True))
    nothing = np.full(len(task), np.nan)
    return {"task": task, "visit": visit, "length": length, "return": score, "normalised": nothing, "success": nothing}


def test_a_visits_score_is_a_mean_over_steps_and_then_over_tasks() -> None:
    found = visit_scores(rows((0, 0, 10, 1.0), (0, 0, 30, 0.0), (1, 0, 5, 0.5), (0, 1, 4, 0.75)))
    assert found.scale == "return"
    assert found.visit.tolist() == [1, 2]
    assert found.episodes.tolist() == [3, 1]
    assert found.score.tolist() == [pytest.approx((10 / 40 + 0.5) / 2), 0.75]  # task 1 was visited once


def test_an_agent_that_learns_as_much_every_time_is_level_and_one_that_tires_falls() -> None:
    learns = [(0, visit, 8, episode / 9) for visit in range(6) for episode in range(10)]
    tires = [(0, visit, 8, episode / 9 / (1 + visit)) for visit in range(6) for episode in range(10)]
    np.testing.assert_allclose(visit_scores(rows(*learns)).score, 0.5)
    np.testing.assert_allclose(visit_scores(rows(*tires)).score, [0.5 / (1 + visit) for visit in range(6)])


def test_known_scales_come_first() -> None:
    some = rows((0, 0, 1, 7.0), (0, 0, 3, 9.0)) | {"success": np.array([1.0, 0.0])}
    assert visit_scores(some).scale == "success"
    assert visit_scores(some).score.tolist() == [0.25]
    assert visit_scores(some | {"normalised": np.array([0.5, 0.1])}).score.tolist() == [pytest.approx(0.2)]
