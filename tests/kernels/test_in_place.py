import pytest
import torch

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.in_place import in_place

B, H, K, V = 3, 2, 4, 5


def draw():
    torch.manual_seed(0)
    q, k, v = torch.randn(B, 1, H, K), torch.randn(B, 1, H, K), torch.randn(B, 1, H, V)
    return q, k, v, torch.randn(B, H, V, K), torch.tensor([[True], [False], [False]])


@torch.no_grad()
def test_the_state_is_written_over_only_where_it_is_allowed():
    *inputs, state, start = draw()
    before = state.clone()
    wanted, after = fast_weight(*inputs, state, start, backend="cpu")
    assert torch.equal(state, before)
    assert after.data_ptr() != state.data_ptr()
    with in_place():
        y, written = fast_weight(*inputs, state, start, backend="cpu")
    assert written.data_ptr() == state.data_ptr()
    assert torch.equal(y, wanted)
    assert torch.equal(state, after)


@pytest.mark.parametrize("recorded", [False, True])
def test_a_state_that_a_gradient_may_need_is_never_written_over(recorded):
    *inputs, state, start = draw()
    before = state.clone()
    inputs[0].requires_grad_(recorded)
    with in_place():
        fast_weight(*inputs, state, start, backend="cpu")
    assert torch.equal(state, before)


@torch.no_grad()
def test_a_state_that_is_a_view_of_another_order_is_left_alone():
    *inputs, state, start = draw()
    turned = state.mT.contiguous().mT
    before = turned.clone()
    with in_place():
        fast_weight(*inputs, turned, start, backend="cpu")
    assert torch.equal(turned, before)
