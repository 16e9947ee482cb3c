"""The running scale of returns, worked by hand and against gymnasium's own normaliser."""

import math

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from lifelong.agents.return_scale import ReturnScale


def segment(reward: list[list[float]], **flags: list[list[bool]]) -> TensorDict:
    """Return steps [B, T] with rewards and flags."""
    after = {"reward": torch.tensor(reward)}
    for name in ("end", "truncated", "episode_end"):
        after[name] = torch.tensor(flags.get(name, [[False] * len(row) for row in reward]))
    size = after["reward"].shape
    return TensorDict({"next": TensorDict({k: v[..., None] for k, v in after.items()}, size)}, size)


@pytest.mark.parametrize(
    ("flags", "returns"),  # worked by hand; gamma 1/2, life_gamma 1/4
    [
        ({}, [1.0, 2.5, 1.25, 4.625]),
        ({"episode_end": [[False, True, False, False]]}, [1.0, 2.5, 0.625, 4.3125]),
        ({"end": [[False, True, False, False]]}, [1.0, 2.5, 0.0, 4.0]),
        (
            {"episode_end": [[False, True, False, False]], "truncated": [[False, True, False, False]]},
            [1.0, 2.5, 0.0, 4.0],
        ),
    ],
)
def test_returns_by_hand(flags: dict[str, list[list[bool]]], returns: list[float]) -> None:
    scale = ReturnScale(0.5, 0.25)
    divisor = scale.update(segment([[1.0, 2.0, 0.0, 4.0]], **flags))
    assert divisor == pytest.approx(np.std(returns))
    assert scale.moments.tolist()[:2] == [4.0, pytest.approx(np.mean(returns))]
    assert scale.returned.tolist() == [returns[-1] / 2]


def test_segments_in_pieces_have_the_moments_of_the_whole() -> None:
    reward = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)).tolist()
    whole, pieces = ReturnScale(0.9, 0.0), ReturnScale(0.9, 0.0)
    whole.update(segment(reward))
    for begin in (0, 7, 8, 30):
        end = {0: 7, 7: 8, 8: 30, 30: 40}[begin]
        pieces.update(segment([row[begin:end] for row in reward]))
    torch.testing.assert_close(pieces.moments, whole.moments)
    torch.testing.assert_close(pieces.returned, whole.returned)


def test_a_factor_of_all_rewards_is_divided_away() -> None:
    reward = torch.rand(4, 50, generator=torch.Generator().manual_seed(1))
    one, thousand = ReturnScale(0.99, 0.0), ReturnScale(0.99, 0.0)
    a = reward / one.update(segment(reward.tolist()))
    b = 1000 * reward / thousand.update(segment((1000 * reward).tolist()))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, -2.0])
def test_without_any_spread_nothing_is_divided(constant: float) -> None:
    scale = ReturnScale(0.0, 0.0)
    assert scale.divisor == 1.0
    assert scale.update(segment([[constant] * 5])) == 1.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_is_refused_and_forgotten(wrong: float) -> None:
    scale = ReturnScale(0.9, 0.0)
    scale.update(segment([[1.0, 2.0]]))
    before = scale.moments.clone(), scale.returned.clone()
    with pytest.raises(FloatingPointError, match=r"rewards must be finite, got (nan|inf)"):
        scale.update(segment([[1.0, wrong]]))
    assert torch.equal(scale.moments, before[0])
    assert torch.equal(scale.returned, before[1])


def test_it_resumes_to_the_same_bits() -> None:
    first = ReturnScale(0.9, 0.5)
    first.update(segment([[1.0, 2.0, 0.5]], episode_end=[[False, True, False]]))
    woken = ReturnScale(0.9, 0.5)
    woken.load_state_dict(first.state_dict())
    later = segment([[3.0, 1.0]])
    assert first.update(later) == woken.update(later)
    assert torch.equal(first.returned, woken.returned)
