"""Squashed normal distributions are TorchRL's, and integrate to one."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchrl.modules import TanhNormal

from lifelong.agents.squashed_normal import SquashedNormal

BOUNDS: dict[str, tuple[Any, Any]] = {
    "unit": (-1.0, 1.0),
    "one side": (0.0, 2.5),
    "each its own": (torch.tensor([-2.0, 0.0, -1e3]), torch.tensor([2.0, 1e-3, 1e3])),
}


def both(bounds: str, shape: tuple[int, ...] = (40, 3)) -> tuple[SquashedNormal, Any, list[Tensor]]:
    """Return ours, TorchRL's, and the parameters of each, which require gradients."""
    generator = torch.Generator().manual_seed(0)
    loc, scale = 2 * torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) + 0.05
    ours, theirs = ([x.clone().requires_grad_() for x in (loc, scale)] for _ in range(2))
    low, high = BOUNDS[bounds]
    mine, other = SquashedNormal(ours[0], ours[1], low, high), TanhNormal(theirs[0], theirs[1], low=low, high=high)
    return mine, other, [*ours, *theirs]


@pytest.mark.parametrize("bounds", BOUNDS)
def test_draws_and_log_probabilities_are_those_of_torchrl(bounds: str) -> None:
    ours, theirs, parameters = both(bounds)
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    torch.manual_seed(1)
    action = ours.sample((5,))
    torch.manual_seed(1)
    expected = theirs.sample((5,))
    torch.testing.assert_close(action, expected)
    assert not action.requires_grad
    torch.testing.assert_close(ours.deterministic_sample, theirs.deterministic_sample)
    found, wanted = ours.log_prob(action), theirs.log_prob(action)
    assert found.shape == (5, 40)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)  # of artanh near the bounds
    (found.sum() + wanted.sum()).backward()
    for mine, other in zip(parameters[:2], parameters[2:], strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bounds", BOUNDS)
def test_paths_of_draws_are_those_of_torchrl(bounds: str) -> None:
    ours, theirs, parameters = both(bounds)
    torch.manual_seed(1)
    action, score = ours.rsample_and_log_prob()
    torch.manual_seed(1)
    expected, wanted = theirs.rsample_and_log_prob()
    torch.testing.assert_close(action, expected)
    torch.testing.assert_close(score, wanted)
    (score.sum() + wanted.sum()).backward()
    for mine, other in zip(parameters[:2], parameters[2:], strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_one_density_by_hand() -> None:
    # a = 1 in [0, 4] is tanh x = -1/2, x = -log(3) / 2; density N(x; 0, 1) / (2 (1 - 1/4))
    one = SquashedNormal(torch.zeros(1), torch.ones(1), 0.0, 4.0)
    x = -math.log(3) / 2
    expected = math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) / 1.5
    assert one.log_prob(torch.ones(1)).exp().item() == pytest.approx(expected, rel=1e-6)


def test_densities_integrate_to_one() -> None:
    one = SquashedNormal(torch.tensor([[0.3]]), torch.tensor([[0.8]]), -1.0, 3.0)
    grid = torch.linspace(-1, 3, 200_001)[1:-1, None]
    assert one.log_prob(grid).exp().sum().item() * 4 / 200_000 == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("loc", [-50.0, 50.0])
def test_at_the_bounds_all_is_finite(loc: float) -> None:
    mean = torch.full((1, 2), loc, requires_grad=True)
    one = SquashedNormal(mean, torch.ones(1, 2), -2.0, 2.0)
    action = one.sample()
    assert action.abs().max() < 2
    score = one.log_prob(action)
    score.sum().backward()
    assert score.isfinite().all()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()
    assert one.log_prob(torch.tensor([[2.0, -2.0]])).isfinite().all()
