"""Maintenance and transfer of a lifetime worked out by hand."""

import numpy as np
import pytest

from lifelong.experiments.metrics.learning_blocks import backward_contrast, forward_contrast, performance_maintenance

NAN = np.nan
# tasks A, B, C; blocks A, B, A, C, after an evaluation before all training
R = np.array([
    [0.1, 0.2, 0.0],
    [0.9, 0.6, 0.0],
    [0.5, 0.8, 0.2],
    [0.7, 0.4, 0.3],
    [0.3, 0.4, 0.9],
])  # fmt: skip
TRAINED = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], np.bool_)


def test_maintenance_is_the_change_since_the_evaluation_after_training() -> None:
    a = ((0.5 - 0.9) + (0.3 - 0.7)) / 2  # after B since the first A, after C since the second
    b = ((0.4 - 0.8) + (0.4 - 0.8)) / 2
    np.testing.assert_allclose(performance_maintenance(R, TRAINED), [a, b, NAN])


def test_forward_contrast_is_of_tasks_that_were_not_trained_yet() -> None:
    found = forward_contrast(R, TRAINED)
    assert found[0, 1] == pytest.approx((0.6 - 0.2) / (0.6 + 0.2))
    assert found[0, 2] == pytest.approx((0.3 - 0.2) / (0.3 + 0.2))  # the first block of A has 0 before and after
    assert found[1, 2] == pytest.approx((0.2 - 0.0) / 0.2)
    assert np.isnan(found[[0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]]).all()


def test_backward_contrast_is_of_tasks_that_were_trained() -> None:
    found = backward_contrast(R, TRAINED)
    assert found[1, 0] == pytest.approx((0.5 - 0.9) / (0.5 + 0.9))
    assert found[0, 1] == pytest.approx((0.4 - 0.8) / (0.4 + 0.8))
    assert found[2, 0] == pytest.approx((0.3 - 0.7) / (0.3 + 0.7))
    assert found[2, 1] == 0
    assert np.isnan(found[:, 2]).all()


def test_without_an_evaluation_before_a_block_there_is_no_transfer() -> None:
    assert np.isnan(forward_contrast(R[1:2], TRAINED[1:2])).all()
    assert np.isnan(performance_maintenance(R[1:2], TRAINED[1:2])).all()


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape of the matrix: \[4, 3\], \[5, 3\]"):
        performance_maintenance(R, TRAINED[1:])
