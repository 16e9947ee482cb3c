import math

import pytest
import torch

from lifelong.memory import HOLA, check_memory


def stripped(bare, cache):
    """Return a memory that writes all of the error, keeps all, and adds half of what its cache says."""
    memory = bare(HOLA(3, num_heads=1, cache=cache, key_dim=1, value_dim=1, conv_size=1))
    memory.gates.bias.data = torch.tensor([50.0, -50.0]).double()
    memory.sink.data.fill_(-1e9)
    return memory


def test_it_keeps_what_changed_the_matrix_most(bare):
    memory = stripped(bare, cache=2)
    x = torch.tensor([[[0.0, 1.0, v] for v in (4.0, 5.0, 12.0, 12.0)]]).double()  # q = 0: no reading of S, equal scores
    y, state = memory(x, memory.initial_state(1), torch.zeros(1, 4, dtype=torch.bool))
    # errors 4, 1, 7, 0; kept: 4 | 4, 5 | 4, 12 | 4, 12; the present is always seen
    want = [4 / 2, (4 + 5) / 2 / 2, (4 + 12) / 2 / 2, (4 + 12 + 12) / 3 / 2]
    torch.testing.assert_close(y.flatten(), torch.tensor(want).double(), rtol=1e-5, atol=0)  # unit_length's eps
    assert state["v"].flatten().tolist() == [4.0, 12.0]


def test_a_new_life_has_an_empty_cache(bare):
    memory = stripped(bare, cache=2)
    x = torch.tensor([[[0.0, 1.0, v] for v in (4.0, 9.0, 6.0)]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    torch.testing.assert_close(y[0, -1].item(), 3.0)
    assert state["v"].flatten().tolist() == [6.0, 0.0]
    assert state["score"].flatten()[1].item() == -1


def test_the_matrix_and_the_cache_are_added_and_norms_make_the_cache_sharp(bare):
    memory = stripped(bare, cache=4)
    memory.norm_q.weight.data.fill_(2.0)
    memory.norm_k.weight.data.fill_(1.5)
    x = torch.tensor([[[1.0, 1.0, 3.0], [1.0, -1.0, 5.0]]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.zeros(1, 2, dtype=torch.bool))
    # S = 3, then S k = -3 at k = -1, error 8: S = 3 - 8 = -5; scores 3 and -3
    near = 1 / (1 + math.exp(-6))
    torch.testing.assert_close(y[0, 1].item(), -5 + (near * 3 + (1 - near) * 5) / 2, rtol=1e-4, atol=0)


def test_a_sink_takes_its_share(bare):
    memory = stripped(bare, cache=2)
    memory.sink.data.fill_(math.log(3.0))
    y, _ = memory(torch.tensor([[[0.0, 1.0, 8.0]]]).double(), memory.initial_state(1), torch.tensor([[False]]))
    torch.testing.assert_close(y.item(), 8 / 4 / 2)


def test_the_contract_holds_with_a_full_cache():
    torch.manual_seed(0)
    check_memory(HOLA(8, num_heads=2, cache=3), long_life=500)


def test_no_cache_is_refused():
    with pytest.raises(ValueError, match="cache must be positive: cache=0"):
        HOLA(8, cache=0)
