"""Published quantities of a performance matrix, each worked out on paper."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lifelong.experiments.metrics.matrix import (
    average_performance,
    backward_transfer,
    final_average,
    forgetting,
    forgetting_of_end,
    forward_transfer,
    intransigence,
    isolated_forgetting,
    performance_matrix,
    transfer_at_boundaries,
    zero_shot_transfer,
)

NAN = math.nan

# Three tasks learnt one after another, and forgotten step by step: row = after block, column = task.
R = np.array([[0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.4, 0.6, 1.0]])
START = np.array([0.1, 0.1, 0.0])


def test_averages_by_hand() -> None:
    assert final_average(R) == pytest.approx((0.4 + 0.6 + 1.0) / 3)
    assert average_performance(R) == pytest.approx((0.9 + 0.7 + 0.8 + 0.4 + 0.6 + 1.0) / 6)  # the lower triangle
    zeros = np.array([[1.0, 0.0], [0.0, 0.5]])
    assert average_performance(zeros) == pytest.approx(0.5)  # (1 + 0 + .5) / 3: a true zero counts


def test_backward_transfer_by_hand() -> None:
    # task 1: .4 - .9 = -.5, task 2: .6 - .8 = -.2, and the mean of both
    assert backward_transfer(R) == pytest.approx(-0.35)


def test_forward_transfer_by_hand() -> None:
    # just before block 2 task 2 had .2, just before block 3 task 3 had .3: (.2 - .1 + .3 - 0) / 2
    assert forward_transfer(R, START) == pytest.approx(0.2)


def test_forgetting_by_hand() -> None:
    # the best before the last block less the last: .9 - .4, .8 - .6
    assert forgetting(R) == pytest.approx([0.5, 0.2])
    # the best need not be the end of the own block
    better = R.copy()
    better[1, 0] = 0.95
    assert forgetting(better) == pytest.approx([0.55, 0.2])
    assert forgetting_of_end(better) == pytest.approx([0.5, 0.2, 0.0])
    # what was not evaluated does not count
    some = R.copy()
    some[0, 1] = NAN
    assert forgetting(some) == pytest.approx([0.5, 0.2])


def test_forgetting_is_negative_where_later_blocks_help() -> None:
    helped = np.array([[0.5, 0.0], [0.8, 0.6]])
    assert forgetting(helped) == pytest.approx([-0.3])
    assert backward_transfer(helped) == pytest.approx(0.3)


def test_forgetting_of_blocks_that_come_again() -> None:
    # blocks: tasks 1, 2, 1, 2; task 1 was learnt last in block 3 (.9), task 2 in block 4
    again = np.array([[0.8, 0.1], [0.5, 0.7], [0.9, 0.4], [0.6, 0.9]])
    assert forgetting_of_end(again, np.array([2, 3])) == pytest.approx([0.3, 0.0])
    assert forgetting_of_end(again) == pytest.approx([0.2, 0.7 - 0.9])


def test_transfer_of_blocks_that_come_again() -> None:
    again = np.array([[0.8, 0.1], [0.5, 0.7], [0.9, 0.4], [0.6, 0.9]])
    # task 1 was learnt last in block 3: .6 - .9; task 2 in the last block, which does not count
    assert backward_transfer(again, np.array([2, 3])) == pytest.approx(-0.3)
    # task 2 was learnt first in block 2: .1 after block 1, over .05; task 1 in the first block, which does not count
    assert forward_transfer(again, np.array([0.2, 0.05]), np.array([0, 1])) == pytest.approx(0.05)
    assert math.isnan(backward_transfer(again, np.array([3, 3])))
    assert math.isnan(forward_transfer(again, np.array([0.2, 0.05]), np.array([0, 0])))


def test_a_boundary_whose_evaluation_was_left_out_counts_for_nobody() -> None:
    # tasks 0, 1 and 2 in blocks of 100 steps, each known at the end of its own block only, and .2 before
    learnt = {0: (1, 99), 1: (101, 199), 2: (201, 299)}
    R = np.array([[0.0, 0.0, 0.0], [1.0, 0.2, 0.2], [0.0, 1.0, 0.2], [0.0, 0.0, 1.0]])
    steps, tasks = np.array([0, 100, 200, 300]), np.arange(3)
    whole = {"backward": pytest.approx(-1.0), "forward": pytest.approx(0.2)}
    assert transfer_at_boundaries(steps, tasks, R, learnt) == whole
    without_first = transfer_at_boundaries(np.delete(steps, 1), tasks, np.delete(R, 1, 0), learnt)
    assert without_first == {"backward": pytest.approx(-1.0), "forward": pytest.approx(0.2)}  # of task 1, of task 2
    without_second = transfer_at_boundaries(np.delete(steps, 2), tasks, np.delete(R, 2, 0), learnt)
    assert without_second == {"backward": pytest.approx(-1.0), "forward": pytest.approx(0.2)}  # of task 0, of task 1
    assert "backward" not in transfer_at_boundaries(steps[[0, 3]], tasks, R[[0, 3]], learnt)


def test_transfer_at_boundaries_by_hand() -> None:
    # tasks 4 and 7, one after the other, evaluated before training, at the change at step 20 and at the end
    R = np.array([[0.1, 0.2], [0.9, 0.5], [0.6, 0.8]])
    steps, tasks, learnt = np.array([0, 20, 30]), np.array([4, 7]), {4: (1, 11), 7: (21, 21)}
    found = transfer_at_boundaries(steps, tasks, R, learnt)
    assert found == {"backward": pytest.approx(0.6 - 0.9), "forward": pytest.approx(0.5 - 0.2)}
    assert set(transfer_at_boundaries(steps[1:], tasks, R[1:], learnt)) == {"backward"}
    assert transfer_at_boundaries(steps, tasks, R, {}) == {}


def test_isolated_forgetting_by_hand() -> None:
    # what a block took: start less the first row, then each row less the next
    expected = [[-0.8, -0.1, -0.1], [0.2, -0.6, -0.2], [0.3, 0.2, -0.7]]
    assert isolated_forgetting(R, START) == pytest.approx(np.array(expected))
    assert isolated_forgetting(R, START).sum(0) == pytest.approx(START - R[-1])  # it adds up over blocks


def test_zero_shot_transfer_by_hand() -> None:
    # block 1 gave tasks 2 and 3 .2 - .1 and .1 - 0, block 2 gave task 3 .3 - .1
    expected = [[NAN, 0.1, 0.1], [NAN, NAN, 0.2], [NAN, NAN, NAN]]
    assert zero_shot_transfer(R, START) == pytest.approx(np.array(expected), nan_ok=True)


def test_intransigence_by_hand() -> None:
    assert intransigence(R, np.array([1.0, 0.8, 0.9])) == pytest.approx([0.1, 0.0, -0.1])


@pytest.mark.parametrize(
    "measure",
    [
        average_performance,
        backward_transfer,
        forgetting,
        lambda R: forward_transfer(R, START),
        lambda R: zero_shot_transfer(R, START),
        lambda R: intransigence(R, START),
    ],
)
def test_matrices_of_another_shape_are_refused(measure: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match=r"needs one row per task, learnt in order; the matrix is \(2, 3\)"):
        measure(R[:2])
    with pytest.raises(ValueError, match="needs at least two tasks, the matrix has 1"):
        measure(R[:1, :1])


def test_a_matrix_is_the_mean_score_of_evaluations() -> None:
    rows = {"train_step": np.array([-1, 100, 100, 100, 7, -1]), "task": np.array([0, 5, 2, 5, 2, 9])}
    rows |= {"normalised": np.array([0.0, 0.5, 0.1, 1.0, 0.3, NAN]), "success": np.full(6, NAN)}
    steps, tasks, found = performance_matrix(rows | {"return": np.full(6, 50.0)})
    assert steps.tolist() == [7, 100]
    assert tasks.tolist() == [2, 5]
    assert found == pytest.approx(np.array([[0.3, NAN], [0.1, 0.75]]), nan_ok=True)
    assert final_average(found) == pytest.approx(0.425)


def test_no_evaluation_makes_an_empty_matrix() -> None:
    rows = {"train_step": np.array([-1]), "task": np.zeros(1, np.int64)}
    rows |= {name: np.zeros(1) for name in ("return", "normalised", "success")}
    steps, tasks, found = performance_matrix(rows)
    assert steps.size == tasks.size == found.size == 0
