import pytest
import torch

from lifelong.kernels.in_place import in_place
from lifelong.kernels.recurrent_delta import recurrent_delta


def draw(T, B=2, H=2, K=4, V=3, start=None):
    return {
        "z": torch.randn(B, T, H, 2 * K + V + 1),
        "feedback": torch.randn(H, 2 * K + V + 1, V),
        "S": torch.randn(B, H, V, K),
        "y": torch.randn(B, H, V),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
    }


@pytest.mark.parametrize("T", [1, 2, 15, 16, 17, 40])
def test_the_compiled_loop_says_what_the_plain_loop_says_with_all_gradients(agree, T):
    agree("recurrent_delta", draw(T))


@pytest.mark.parametrize(("K", "V"), [(1, 1), (2, 7)])
def test_heads_of_any_size(agree, K, V):
    agree("recurrent_delta", draw(7, K=K, V=V))


def test_lives_may_start_anywhere(agree, starts):
    agree("recurrent_delta", draw(9, start=starts(2, 9)))


@torch.no_grad()
def test_a_step_writes_the_matrix_in_place_only_where_that_is_allowed():
    inputs = draw(1)
    before = inputs["S"].clone()
    wanted = recurrent_delta(**inputs)
    assert torch.equal(inputs["S"], before)
    with in_place():
        got = recurrent_delta(**inputs)
    assert got[1].data_ptr() == inputs["S"].data_ptr()
    for x, want in zip(got, wanted, strict=True):
        assert torch.equal(x, want)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"y must be \[2, 2, 3\], got \[2, 2, 4\]"):
        recurrent_delta(**draw(2) | {"y": torch.zeros(2, 2, 4)})
