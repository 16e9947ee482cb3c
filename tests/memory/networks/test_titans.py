import pytest
import torch
from torch import nn

from lifelong.kernels.fast_weight.reference import fast_weight
from lifelong.memory import Titans

FIRST, SECOND, BOTH = [2.0, 0.0], [0.0, 3.0], [1.0, 1.0]  # keys and queries, brought to length 1


def test_half_of_half_the_error_now_and_half_of_the_momentum_ever_after(bare):
    memory = bare(Titans(5, num_heads=1, depth=1, key_dim=2, value_dim=1, batch=1, conv_size=1))
    # gates of 0: theta = eta = alpha = 1/2
    steps = [(FIRST, FIRST, 4.0), (FIRST, FIRST, 4.0), (BOTH, SECOND, 2.0), (FIRST, FIRST, 6.0)]
    x = torch.tensor([[[*q, *k, v] for q, k, v in steps]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, False, True]]))
    # M = (1, 0), W = (1, 0);  error -3: M = (0.5 + 0.75, 0), W = (0.5 + 1.25, 0) = (1.75, 0)
    # error -2 at the second key: M = (0.625, 0.5), W = (0.875 + 0.625, 0.5) = (1.5, 0.5);  a new life: 6 / 4
    want = torch.tensor([1.0, 1.75, 2 / 2**0.5, 1.5], dtype=torch.double)
    torch.testing.assert_close(y.flatten(), want, rtol=1e-9, atol=0)
    torch.testing.assert_close(state["momentum"].flatten(), torch.tensor([1.5, 0.0]).double(), rtol=1e-9, atol=0)


def test_within_a_mini_batch_the_error_is_that_at_its_beginning(bare):
    memory = bare(Titans(3, num_heads=1, depth=1, key_dim=1, value_dim=1, batch=2, momentum=False, conv_size=1))
    nn.init.constant_(memory.gates.bias[1:], -99.0)  # nothing fades; theta = 1/2 / 2
    x = torch.tensor([[[1.0, 1.0, 8.0]]]).double().expand(1, 4, 3)
    y, _ = memory(x, memory.initial_state(1), torch.zeros(1, 4, dtype=torch.bool))
    # twice a quarter of 8: 2, 4;  twice a quarter of 4: 5, 6
    torch.testing.assert_close(y.flatten(), torch.tensor([2.0, 4.0, 5.0, 6.0]).double(), rtol=1e-9, atol=0)


def test_a_matrix_without_mini_batches_momentum_and_decay_is_the_delta_rule(bare):
    memory = bare(Titans(9, num_heads=1, depth=1, key_dim=3, value_dim=3, batch=1, momentum=False, conv_size=1))
    nn.init.normal_(memory.gates.weight[:1])
    nn.init.constant_(memory.gates.bias[1:], -99.0)
    x, start = torch.randn(2, 30, 9).double(), torch.rand(2, 30) < 0.1
    y, state = memory(x, memory.initial_state(2), start)
    q, k, v, _ = memory.project(x, None, start)
    rate = memory.gates(x)[..., :1].sigmoid()
    said, S = fast_weight(q, k, v, torch.zeros(2, 1, 3, 3).double(), start, rate=rate)
    torch.testing.assert_close(y, said.flatten(-2))
    torch.testing.assert_close(state["fast"], S.flatten(-2))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_any_depth_learns_four_pairs(bare, depth):
    torch.manual_seed(0)
    memory = Titans(12, num_heads=1, depth=depth, key_dim=4, value_dim=4, hidden=16, conv_size=1)
    slow = memory.weights.detach().double()
    memory = bare(memory)
    memory.weights.data = slow
    nn.init.constant_(memory.gates.bias[:1], 2.0)
    nn.init.constant_(memory.gates.bias[1:2], -99.0)
    pairs = torch.cat([torch.eye(4), torch.eye(4), torch.randn(4, 4)], -1).double().repeat(150, 1)
    y, _ = memory(pairs[None], memory.initial_state(1), torch.zeros(1, 600, dtype=torch.bool))
    error = (y[0] - pairs[:, 8:]).norm(dim=-1)
    assert error[-4:].max() < error[:4].max() / 10


def test_a_depth_of_nothing_is_refused():
    with pytest.raises(ValueError, match="depth must be positive: depth=0"):
        Titans(8, depth=0)
