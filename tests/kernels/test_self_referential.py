import pytest
import torch

from lifelong.kernels.in_place import in_place
from lifelong.kernels.self_referential import self_referential


def draw(T, B=2, H=2, N=3, start=None):
    return {
        "x": torch.randn(B, T, H, N).softmax(-1),
        "weight": torch.randn(H, 3 * N + 4, N),
        "state": torch.randn(B, H, 3 * N + 4, N),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
    }


@pytest.mark.parametrize("T", [1, 2, 15, 16, 17, 40])
@pytest.mark.parametrize("limit", [0.8, 100.0])
def test_the_compiled_loop_says_what_the_plain_loop_says_with_all_gradients(agree, T, limit):
    agree("self_referential", draw(T), fixed={"limit": limit})


def test_lives_may_start_anywhere(agree, starts):
    agree("self_referential", draw(9, start=starts(2, 9)), fixed={"limit": 2.0})


def test_single_precision_is_as_good_as_it_can_be(agree):
    agree("self_referential", draw(20), torch.float32, fixed={"limit": 2.0})


@torch.no_grad()
def test_a_step_writes_the_matrix_in_place_only_where_that_is_allowed():
    inputs = draw(1)
    before = inputs["state"].clone()
    wanted = self_referential(**inputs, limit=2.0)
    assert torch.equal(inputs["state"], before)
    with in_place():
        got = self_referential(**inputs, limit=2.0)
    assert got[1].data_ptr() == inputs["state"].data_ptr()
    for x, want in zip(got, wanted, strict=True):
        assert torch.equal(x, want)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"weight must be \[2, 13, 3\], got \[2, 12, 3\]"):
        self_referential(**draw(2) | {"weight": torch.ones(2, 12, 3)}, limit=1.0)
