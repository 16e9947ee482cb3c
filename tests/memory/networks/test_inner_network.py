import pytest
import torch

from lifelong.memory import Memory, make_memory

TRAINED = ["ttt_linear", "ttt_mlp", "titans", "moneta", "yaad", "memora", "lact", "atlas", "hope"]


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
