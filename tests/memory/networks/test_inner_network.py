import pytest
import torch

from lifelong.memory import Memory, check_memory, make_memory

TRAINED = ["ttt_linear", "ttt_mlp", "titans", "moneta", "yaad", "memora", "lact", "atlas", "hope"]


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "lact"])
def test_the_gradient_is_bounded_unless_told_otherwise(name):
    x, never = torch.randn(2, 40, 8).double(), torch.zeros(2, 40, dtype=torch.bool)
    ys = []
    for options in ({}, {"bound": "on"}, {"bound": "off"}):
        torch.manual_seed(0)
        memory = make_memory(name, 8, **options).double()
        ys.append(memory(x, memory.initial_state(2), never)[0])
    assert torch.equal(ys[0], ys[1])
    assert not torch.allclose(ys[1], ys[2], rtol=1e-3)
    with pytest.raises(ValueError, match="bound must be one of on, off, got 'yes'"):
        make_memory(name, 8, bound="yes")


@pytest.mark.parametrize("name", ["ttt_linear", "ttt_mlp", "moneta", "yaad", "memora"])
def test_under_a_layer_norm_raw_gradients_keep_the_contract(name):
    torch.manual_seed(0)
    check_memory(make_memory(name, 8, bound="off"))


@pytest.mark.parametrize("name", TRAINED)
def test_rounding_does_not_grow_however_often_an_input_is_repeated(name):
    torch.manual_seed(0)
    memory = make_memory(name, 32)
    x = torch.randn(2, 2, 32).repeat(1, 150, 1)
    x[0] = x[0, :1]  # one life meets one input, the other two in turn
    never = torch.zeros(2, 300, dtype=torch.bool)
    with torch.no_grad():
        once, state = memory(x, memory.initial_state(2), never)
        stepped, end = Memory.forward(memory, x, memory.initial_state(2), never)
    torch.testing.assert_close(once, stepped, rtol=0, atol=2e-5)
    torch.testing.assert_close(state["fast"], end["fast"], rtol=0, atol=1e-4)
