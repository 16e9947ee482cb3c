"""Which units are dormant, worked out by hand, and where their weights lie."""

import pytest
import torch

from lifelong.agents.dormant_units import activity, dormant


def test_activity_is_the_mean_magnitude_of_each_unit() -> None:
    assert activity(torch.tensor([[1.0, -2.0, 0.0], [-3.0, 2.0, 0.0]])).tolist() == [2.0, 2.0, 0.0]


def test_a_unit_is_dormant_up_to_a_fortieth_of_the_mean_activity() -> None:
    # the mean of 4 units is 1
    assert dormant(torch.tensor([0.0, 0.02, 0.03, 3.95])).tolist() == [True, True, False, False]
    assert dormant(torch.tensor([0.0, 0.02, 0.03, 3.95]), tau=0.1).tolist() == [True, True, True, False]


def test_a_silent_layer_is_dormant_as_a_whole() -> None:
    assert dormant(torch.zeros(3)).all()


@pytest.mark.parametrize("tau", [0.025, 0.0])
def test_equal_units_are_awake(tau: float) -> None:
    assert not dormant(torch.ones(5), tau).any()
