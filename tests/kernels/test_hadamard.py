import pytest
import torch

from lifelong.kernels.hadamard import hadamard
from lifelong.kernels.in_place import in_place


def draw(T, B=2, K=4, V=3, start=None):
    return {
        "q": torch.randn(B, T, K),
        "k": torch.randn(B, T, K),
        "v": torch.randn(B, T, V),
        "rows": torch.randn(B, T, V),
        "columns": torch.randn(B, T, K),
        "S": torch.randn(B, V, K),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
    }


@pytest.mark.parametrize("T", [1, 2, 15, 16, 17, 40])
def test_the_compiled_loop_says_what_the_plain_loop_says_with_all_gradients(agree, T):
    agree("hadamard", draw(T))


@pytest.mark.parametrize(("K", "V"), [(1, 1), (2, 7), (33, 5)])
def test_matrices_of_any_size_in_single_precision(agree, K, V):
    agree("hadamard", draw(9, K=K, V=V), torch.float32)


def test_lives_may_start_anywhere(agree, starts):
    agree("hadamard", draw(9, start=starts(2, 9)))


def test_what_the_bound_holds_has_no_gradient(agree):
    inputs = draw(6, start=torch.zeros(2, 6).bool())
    inputs["S"][0] = 1e12
    inputs["rows"], inputs["columns"] = torch.full((2, 6, 3), 2.0), torch.full((2, 6, 4), 2.0)
    agree("hadamard", inputs)
    inputs = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
    inputs["S"].requires_grad_()
    _, end = hadamard(**inputs)
    assert (end[0] == 1e12).all()
    (gradient,) = torch.autograd.grad(end.sum(), inputs["S"])
    assert not gradient[0].any()
    assert gradient[1].all()


def test_numbers_by_hand(forms):
    # 4 * (1 + tanh(atanh(1/2))) + 2 * 3 = 12, read by 1/2; then a new life: 2 * 3 = 6, read by 1/2
    one = torch.ones(1, 2, 1).double()
    inputs = {"q": one / 2, "k": 3 * one, "v": 2 * one, "rows": torch.atanh(one / 2), "columns": one}
    for form in forms("hadamard").values():
        y, S = form(**inputs, S=4 * torch.ones(1, 1, 1).double(), start=torch.tensor([[False, True]]))
        torch.testing.assert_close(y.flatten().tolist(), [6.0, 3.0])
        assert S.item() == 6.0


@torch.no_grad()
def test_a_step_writes_the_matrix_in_place_only_where_that_is_allowed():
    inputs = draw(1)
    before = inputs["S"].clone()
    wanted = hadamard(**inputs)
    assert torch.equal(inputs["S"], before)
    with in_place():
        got = hadamard(**inputs)
    assert got[1].data_ptr() == inputs["S"].data_ptr()
    for x, want in zip(got, wanted, strict=True):
        assert torch.equal(x, want)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"rows must be \[2, 2, 3\], got \[2, 2, 4\]"):
        hadamard(**draw(2) | {"rows": torch.zeros(2, 2, 4)})
