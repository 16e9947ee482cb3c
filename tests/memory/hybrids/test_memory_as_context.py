import math

import pytest
import torch
from torch import nn

from lifelong.memory import MemoryAsContext, Window, check_memory


def made_bare(bare, **options):
    memory = MemoryAsContext(3, inner="none", num_heads=1, cache=2, **options)
    for p in memory.parameters():
        nn.init.zeros_(p)
    memory.attention = bare(Window(3, num_heads=1, cache=2, key_dim=1, value_dim=1, conv_size=1))
    return memory.double()


def test_a_step_weighs_its_window_its_reading_and_the_tokens(bare):
    memory = made_bare(bare, tokens=1)
    memory.token_keys = nn.Parameter(torch.ones(1, 1, 1).double())
    memory.token_values = nn.Parameter(torch.full((1, 1, 1), 40.0).double())
    memory.recall = nn.Linear(3, 2, bias=False).double()
    memory.recall.weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]).double()
    memory.inner.linear = nn.Identity()  # the reading is x = (q, k, v): a key like the query, twice the value
    memory.bias.data = torch.tensor([[0.0, math.log(2)]]).double()  # the token counts twice
    memory.attention.sharpness.data.fill_(math.log(3) / 2)  # a key of -1 weighs a third of one of 1
    x = torch.tensor([[[5.0, 5.0, 4.0], [5.0, -5.0, 8.0], [5.0, 5.0, 1.0]]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # all weights over sqrt 3.  4 + 8 + 2 * 40 = 92, over 1 + 1 + 2
    # (4 + 8 / 3 + 16 + 2 * 40) / (1 + 1 / 3 + 1 + 2) = 308 / 13
    # a new life: (1 + 2 + 2 * 40) / 4
    want = torch.tensor([23.0, 308 / 13, 83 / 4]).double()
    torch.testing.assert_close(y.flatten(), want, rtol=1e-5, atol=0)  # unit's eps


def test_without_reading_and_tokens_it_is_the_window():
    torch.manual_seed(0)
    memory = MemoryAsContext(8, tokens=2, cache=4).double()
    memory.bias.data.fill_(-1e4)  # they are there, but never looked at
    x, start = torch.randn(2, 9, 8, dtype=torch.double), torch.rand(2, 9) < 0.2
    y, state = memory(x, memory.initial_state(2), start)
    alone, window = memory.attention(x, memory.attention.initial_state(2), start)
    torch.testing.assert_close(y, alone)
    assert (state["attention"] == window).all()


@pytest.mark.parametrize("options", [{"tokens": 1}, {"inner": "none"}, {"inner": "gru", "num_heads": 2}])
def test_other_parts_keep_the_contract(options):
    check_memory(MemoryAsContext(8, cache=3, **options), steps=6, long_life=1000)


def test_no_tokens_are_refused():
    with pytest.raises(ValueError, match="tokens must be positive: tokens=0"):
        MemoryAsContext(8, tokens=0)
