import numpy as np
import pytest

from lifelong.experiments.metrics.visits import median_episodes_to_recover, savings_of_last_visit, visit_scores


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


def lived(*visits: tuple[int, int, list[float]], lives: int = 1) -> dict[str, np.ndarray]:
    """Return rows of lives that are all alike, of (task, visit from 0, scores), last episode first."""
    episodes = [(task, visit, score) for task, visit, scores in visits for score in scores]
    columns = [(life, number, *episode) for life in range(lives) for number, episode in enumerate(episodes)][::-1]
    life, episode, task, visit, score = map(np.array, zip(*columns, strict=True))
    nothing = np.full(len(life), np.nan)
    return {"life": life, "episode": episode, "task": task, "visit": visit, "return": score,
            "normalised": nothing, "success": nothing}  # fmt: skip


def test_recovery_counts_the_episodes_until_nine_tenths_are_there_again() -> None:
    ten = [1.0] * 10
    assert median_episodes_to_recover(lived((0, 0, ten), (1, 0, ten))) == 0  # it knows the new one as well
    assert median_episodes_to_recover(lived((0, 0, ten), (1, 0, [0.0] * 5 + ten))) == 5
    assert median_episodes_to_recover(lived((0, 0, ten), (1, 0, [0.5] * 30), lives=3)) == np.inf
    changes = lived((0, 0, ten), (1, 0, [0.0] * 2 + ten), (0, 1, [0.0] * 4 + ten), (1, 1, [0.0] * 9 + ten))
    assert median_episodes_to_recover(changes) == 4  # of 2, 4, 9
    low = [-100.0] * 8
    assert median_episodes_to_recover(lived((0, 0, low), (1, 0, [-200.0] * 3 + [-109.0] * 8))) == 3
    assert np.isnan(median_episodes_to_recover(lived((0, 0, ten))))


def test_visits_too_short_to_tell_do_not_count_as_failures() -> None:
    ten, five = [1.0] * 10, [1.0] * 5
    assert np.isnan(median_episodes_to_recover(lived((0, 0, ten), (1, 0, five))))  # no mean of 8 was ever seen
    assert median_episodes_to_recover(lived((0, 0, ten), (1, 0, five), (0, 1, [0.0] * 2 + ten))) == 2
    # ten lives need six episodes; six of them end after nine, in which two means of 8 could be seen
    parts = [lived((0, 0, [1.0] * 20), (1, 0, [0.0] * 6 + [1.0] * n), lives=m) for n, m in ((3, 6), (20, 4))]
    parts[1]["life"] = parts[1]["life"] + 6
    together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    assert median_episodes_to_recover(together) == 6
    assert np.isnan(savings_of_last_visit(lived((0, 0, [0.0] * 20 + ten), (1, 0, ten), (0, 1, five))))


def test_savings_are_the_part_of_the_episodes_that_a_later_visit_does_not_need() -> None:
    first = (0, 0, [0.0] * 20 + [1.0] * 8)
    other = (1, 0, [0.3] * 9)
    assert savings_of_last_visit(lived(first, other, (0, 1, [0.0] * 5 + [1.0] * 8))) == pytest.approx(0.75)
    assert (
        savings_of_last_visit(lived(first, other, (0, 1, [0.0] * 5 + [1.0] * 8), (2, 0, [0.3]), (0, 2, [1.0] * 9))) == 1
    )
    assert savings_of_last_visit(lived(first, other, (0, 1, [0.0] * 30 + [1.0] * 8))) == pytest.approx(-0.5)
    assert np.isnan(savings_of_last_visit(lived(first, other)))
    assert np.isnan(savings_of_last_visit(lived((0, 0, [1.0] * 9), other, (0, 1, [1.0] * 9))))
    assert np.isnan(savings_of_last_visit(lived(first, other, (0, 1, [0.0] * 30))))
