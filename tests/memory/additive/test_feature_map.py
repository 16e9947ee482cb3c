import pytest
import torch

from lifelong.memory.additive.feature_map import DPFP, Taylor
from lifelong.memory.additive.learned_feature_map import Hedgehog, Rebased
from lifelong.memory.additive.linear_attention import make_feature_map


def close(got, want):
    torch.testing.assert_close(got, torch.tensor(want, dtype=got.dtype), rtol=1e-12, atol=1e-12)


def test_taylor_features_multiply_to_the_exponential_to_second_order():
    q, k = torch.tensor([1.0, 2.0, 0.0, -1.0]).double(), torch.tensor([3.0, 1.0, 5.0, 1.0]).double()
    phi = Taylor(4).double()
    # q . k = 3 + 2 + 0 - 1 = 4, over sqrt 4 is a = 2:  1 + 2 + 2 = 5
    close(phi(q) @ phi(k), 5.0)
    assert phi(q).shape == (phi.features,) == (1 + 4 + 10,)


def test_dpfp_multiplies_neighbours_of_both_signs_and_divides_by_their_sum():
    x = torch.tensor([2.0, -3.0]).double()
    # r = (2, 0, 0, 3); one to the right: (3, 2, 0, 0), products (6, 0, 0, 0); two: (0, 3, 2, 0), products 0: sum 6
    close(DPFP(2, nu=2)(x), [6 / (6 + 1e-6), 0, 0, 0, 0, 0, 0, 0])


def test_dpfp_is_never_negative():
    assert DPFP(5, nu=3)(torch.randn(100, 5)).min() >= 0


def test_dpfp_refuses_a_distance_that_comes_round_again():
    with pytest.raises(ValueError, match="nu must be between 1 and 2 K - 1 = 3: nu=4"):
        DPFP(2, nu=4)


def test_rebased_features_multiply_to_the_squared_scalar_product_of_affine_maps():
    phi = Rebased(1, 2).double()
    torch.nn.init.constant_(phi.beta, 2.0)
    torch.nn.init.constant_(phi.gamma, 3.0)
    q, k = torch.tensor([[1.0, 5.0]]).double(), torch.tensor([[4.0, -4.0]]).double()
    # means 3 and 0, deviations 2 and 4: (-1, 1) and (1, -1), times 3, plus 2: q' = (-1, 5), k' = (5, -1)
    # (q' . k')^2 / K = (-10)^2 / 2 = 50, where squares of channels would have 1 * 25 + 25 * 1
    got = (phi(q) * phi(k)).sum()
    torch.testing.assert_close(got, torch.tensor(50.0).double(), rtol=1e-5, atol=0)  # layer_norm's eps
    assert phi(q).shape == (1, 3)


def test_hedgehog_is_a_softmax_over_both_signs():
    phi = Hedgehog(1, 1).double()
    torch.nn.init.constant_(phi.weight, 2.0)
    # W x = log 3: e^log 3 = 3 against 1/3:  0.9 and 0.1
    close(phi(torch.tensor([[3.0]]).double().log() / 2), [[0.9, 0.1]])


@pytest.mark.parametrize(
    ("name", "features"), [("elu", 3), ("relu", 3), ("taylor", 10), ("dpfp", 12), ("rebased", 6), ("hedgehog", 6)]
)
def test_every_map_says_how_wide_it_is(name, features):
    phi = make_feature_map(name, num_heads=2, key_dim=3, nu=2)
    assert phi(torch.randn(5, 2, 3)).shape == (5, 2, features) == (5, 2, phi.features)


def test_an_unknown_map_is_refused():
    with pytest.raises(
        ValueError, match="feature_map must be one of elu, relu, taylor, dpfp, rebased, hedgehog, got 'exp'"
    ):
        make_feature_map("exp", 1, 2)
