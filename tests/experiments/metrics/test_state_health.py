"""Health of a memory's state, worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from lifelong.experiments.metrics.state_health import (
    effective_rank,
    is_matrix,
    large_tensors,
    norm,
    saturation,
    singular_values,
    stable_rank,
    write_strength,
)


def ranks(x: Tensor) -> tuple[float, float]:
    sigma = singular_values(x)
    return float(effective_rank(sigma)), float(stable_rank(sigma))


def test_an_outer_product_has_rank_1() -> None:
    x = torch.outer(torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 4.0, 1.0, 2.0]))
    assert ranks(x) == pytest.approx((1.0, 1.0), abs=1e-5)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_the_identity_of_n_has_rank_n(n: int) -> None:
    assert ranks(7.0 * torch.eye(n)) == pytest.approx((n, n))


def test_unequal_directions_count_by_their_share() -> None:
    # p = 1/2, 1/4, 1/4: exp(1/2 log 2 + 1/2 log 4) = 2^1.5; (4 + 1 + 1) / 4
    assert ranks(torch.diag(torch.tensor([2.0, 1.0, -1.0]))) == pytest.approx((2**1.5, 1.5))


def test_a_zero_matrix_uses_no_direction() -> None:
    assert ranks(torch.zeros(3, 4)) == (0.0, 0.0)


def test_ranks_of_many_matrices_are_those_of_each() -> None:
    x = torch.stack([torch.eye(3), torch.zeros(3, 3), torch.ones(3, 3), torch.full((3, 3), math.nan)])
    sigma = singular_values(x.view(2, 2, 3, 3))
    assert sigma.shape == (2, 2, 3)
    for rank in (effective_rank, stable_rank):
        (a, b), (c, d) = rank(sigma).tolist()
        assert [a, b, c] == pytest.approx([3.0, 0.0, 1.0])
        assert math.isnan(d)


def test_the_norm_is_of_each_life() -> None:
    assert norm(torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])).tolist() == [5.0, 0.0]


def test_write_strength_is_the_change_over_the_norm_after_it() -> None:
    before = torch.tensor([[3.0, 0.0], [0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0]])
    after = torch.tensor([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [0.0, 0.0]])
    # 4 / 5; a first write; none; wiped, of which nothing is left to compare with; never written
    assert write_strength(before, after).tolist() == pytest.approx([0.8, 1.0, 0.0, 0.0, 0.0])


def test_a_shifted_cache_of_unlike_entries_is_written_by_the_root_of_two() -> None:
    cache = torch.eye(6)[None]
    assert write_strength(cache[:, :5], cache[:, 1:]).item() == pytest.approx(2**0.5)


def test_saturation_is_the_share_near_the_greatest() -> None:
    assert saturation(torch.tensor([[1.0, -0.96, 0.94, 0.0], [0.5, -1.0, 0.0, 0.0]])).item() == 3 / 8
    assert saturation(torch.tensor([[2.0, 2.0], [-2.0, 2.0]])).item() == 1.0
    assert saturation(torch.zeros(2, 3)).item() == 0.0
    assert math.isnan(saturation(torch.tensor([[1.0, math.nan]])).item())
    assert math.isnan(saturation(torch.tensor([[1.0, math.inf]])).item())


def test_small_tensors_and_counters_are_no_memory() -> None:
    state = {
        ("0", "S"): torch.zeros(2, 1, 4, 4),
        ("0", "J"): torch.zeros(2, 8),
        ("0", "window"): torch.zeros(2, 1, 7),
        ("0", "count"): torch.zeros(2, 99, dtype=torch.int64),
        ("1", "h"): torch.zeros(2, 3),
        ("2", "empty"): torch.zeros(2, 0),
    }
    assert list(large_tensors(state)) == [("0", "S"), ("0", "J"), ("1", "h")]


def test_matrices_have_capital_letters_and_four_dimensions() -> None:
    matrix, cache = torch.zeros(2, 1, 4, 4), torch.zeros(2, 31, 2, 32)
    assert is_matrix(("0", "S"), matrix)
    assert is_matrix(("0", "a", "M"), matrix)
    assert not is_matrix(("0", "k"), cache)
    assert not is_matrix(("0", "J"), torch.zeros(2, 4, 4))  # one importance per key channel
