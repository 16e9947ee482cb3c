"""Forward transfer worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest

from lifelong.experiments.metrics.forward_transfer import area_under_success, forward_transfer_auc
from lifelong.experiments.metrics.rows import join_runs

NAN = math.nan


def table(*rows: tuple[int, int, int, float]) -> dict[str, Any]:
    """Return rows of (step, task, visit, success)."""
    step, task, visit, success = (np.array(column) for column in zip(*rows, strict=True))
    unknown = np.full(len(rows), NAN)
    return {"step": step, "task": task, "visit": visit, "success": success, "normalised": unknown,
            "return": unknown, "life": np.zeros(len(rows), np.int64)}  # fmt: skip


# Task 0 until step 100, then task 1 until step 300, then task 0 again.
RUN = table(
    (60, 0, 0, 0.0),
    (100, 0, 0, 1.0),
    (140, 1, 0, 0.0),  # 100 to 150: 0
    (200, 1, 0, 1.0),  # 150 to 200: (1 + 0) / 2, in two episodes
    (190, 1, 0, 0.0),
    (230, 1, 0, 1.0),  # 200 to 250: 1
    (300, 1, 0, 1.0),  # 250 to 300: 1
    (400, 0, 1, 0.0),
    (500, 1, 1, 0.0),  # a later visit
)
ALONE = table(
    (50, 1, 0, 0.0),  # 0 to 50: 0
    (51, 1, 0, 0.0),  # 50 to 100: 0
    (150, 1, 0, 1.0),  # 100 to 150: 1/3
    (120, 1, 0, 0.0),
    (130, 1, 0, 0.0),
    (200, 1, 0, 1.0),  # 150 to 200: 1
    (350, 1, 0, 0.0),  # beyond the length of the block
)


def test_the_area_is_the_mean_over_stretches_of_steps_and_not_over_episodes() -> None:
    assert area_under_success(RUN, 1, 100, 300, 4) == pytest.approx((0 + 0.5 + 1 + 1) / 4)
    assert area_under_success(ALONE, 1, 0, 200, 4) == pytest.approx((0 + 0 + 1 / 3 + 1) / 4)
    assert area_under_success(RUN, 1, 100, 300, 1) == pytest.approx(3 / 5)


def test_forward_transfer_is_what_is_gained_of_what_could_be() -> None:
    run, single = 2.5 / 4, 4 / 3 / 4
    assert forward_transfer_auc(RUN, ALONE, 1, stretches=4) == pytest.approx((run - single) / (1 - single))
    first = table((50, 0, 0, 0.0), (100, 0, 0, 1.0))
    assert forward_transfer_auc(RUN, first, 0, stretches=2) == pytest.approx((0.5 - 0.5) / 0.5)  # nothing came before


def test_who_is_always_right_alone_leaves_nothing_to_transfer() -> None:
    always = table(*[(50 * k, 1, 0, 1.0) for k in range(1, 5)])
    assert math.isnan(forward_transfer_auc(RUN, always, 1, stretches=4))


def test_the_ratio_is_of_means_over_seeds() -> None:
    never = {**RUN, "success": np.zeros(9)}
    area = 2.5 / 4 / 2
    single = 1 / 3
    found = forward_transfer_auc(join_runs([RUN, never]), join_runs([ALONE, ALONE]), 1, stretches=4)
    assert found == pytest.approx((area - single) / (1 - single))


def test_stretches_in_which_no_episode_ends_lie_between_their_neighbours() -> None:
    rows = table((10, 0, 0, 0.0), (95, 0, 0, 1.0))
    assert area_under_success(rows, 0, 0, 100, 5) == pytest.approx((0 + 0.25 + 0.5 + 0.75 + 1) / 5)
    assert area_under_success(table((30, 0, 0, 1.0)), 0, 0, 100, 5) == 1


def test_normalised_scores_stand_in_for_success() -> None:
    rows = {**RUN, "success": np.full(9, NAN), "normalised": RUN["success"] / 2}
    assert area_under_success(rows, 1, 100, 300, 4) == pytest.approx(2.5 / 8)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the reference must have trained task 1 only, it has rows of tasks \[0\]"):
        forward_transfer_auc(RUN, RUN, 1)
    with pytest.raises(ValueError, match="the reference must be as long as the task's block: 100 steps, the block 200"):
        forward_transfer_auc(RUN, table((100, 1, 0, 1.0)), 1)
    with pytest.raises(ValueError, match="there are no rows of a first visit to task 7"):
        forward_transfer_auc(RUN, table((9, 7, 0, 1.0)), 7)
    with pytest.raises(ValueError, match="there are no rows of task 1 in steps 0 to 100"):
        area_under_success(RUN, 1, 0, 100)
    with pytest.raises(ValueError, match="forward transfer needs a success of every episode, or reference scores"):
        area_under_success({**RUN, "success": np.full(9, NAN)}, 1, 100, 300)


def test_first_visits_of_lives_that_begin_later_are_no_first_training() -> None:
    # two lives: tasks 0, 1, 0 and 1 in blocks of 1,000 steps; from the third on lives 2 and 3, whose visits begin at 0
    def block(number: int, task: int, success: float, life: int) -> list[tuple[int, int, int, float, int]]:
        return [(1000 * number + at, task, 0, success, life) for at in range(50, 1001, 50)]

    parts = [*block(0, 0, 1.0, 0), *block(1, 1, 0.5, 1), *block(2, 0, 1.0, 2), *block(3, 1, 1.0, 3)]
    parts += [(2000, 0, 0, 1.0, 1)]  # life 1 has left the task
    run = table(*[part[:4] for part in parts]) | {"life": np.array([part[4] for part in parts])}
    alone = table(*[(at, 1, 0, 0.5) for at in range(50, 2001, 50)])
    assert forward_transfer_auc(run, alone, 1) == pytest.approx(0.0)
