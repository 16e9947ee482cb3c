import math

import pytest
import torch
from torch import nn

from lifelong.memory import DeltaProduct, GatedDelta, check_memory

FIRST, SECOND = [3.0, 0.0], [0.0, 3.0]


def test_two_corrections_and_one_decay_between_two_readings(bare):
    memory = bare(DeltaProduct(8, num_heads=1, corrections=2, key_dim=2, value_dim=1, conv_size=1))
    memory.gates.bias.data[:2] = torch.tensor([0.0, -math.log(3)]).double()  # beta 1, then 1/2; alpha is 1/2
    both = [1.0, 1.0]
    x = torch.tensor([[[*both, *FIRST, 4.0, *SECOND, 2.0], [*both, *FIRST, 6.0, *FIRST, 4.0]]]).double()
    x = torch.cat([x, x[:, :1]], 1)
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # (4, 0), (4, 1);  fade (2, 0.5), then (6, 0.5), then (6 + (4 - 6) / 2, 0.5) = (5, 0.5);  a new life: (4, 1)
    want = torch.tensor([5.0, 5.5, 5.0]).double() / 2**0.5
    torch.testing.assert_close(y.flatten(), want, rtol=1e-5, atol=0)  # unit()'s eps
    torch.testing.assert_close(state["S"].flatten(), torch.tensor([4.0, 1.0]).double(), rtol=1e-5, atol=0)


def test_two_reflections_turn_the_memory(bare):
    memory = bare(DeltaProduct(8, num_heads=1, corrections=2, key_dim=2, value_dim=1, conv_size=1))
    memory.gates.bias.data[:] = torch.tensor([50.0, 50.0, -50.0]).double()  # beta 2, nothing fades
    state = memory.initial_state(1)
    state["S"][:] = torch.tensor([2.0, 1.0]).double()
    x = torch.tensor([[*FIRST, *FIRST, 0.0, 1.0, 1.0, 0.0]]).double()
    _, state = memory.step(x, state, torch.tensor([False]))
    # mirrored across the first axis: (-2, 1); then across the diagonal: (-1, 2): a quarter turn
    torch.testing.assert_close(state["S"].flatten(), torch.tensor([-1.0, 2.0]).double(), rtol=1e-5, atol=0)


def test_one_correction_is_the_gated_delta_rule(bare):
    product = bare(DeltaProduct(9, num_heads=1, corrections=1, key_dim=3, value_dim=3, conv_size=1))
    gated = bare(GatedDelta(9, num_heads=1, key_dim=3, value_dim=3, conv_size=1))
    product.gates.bias.data[0] = -math.log(3)  # 2 sigmoid = 1/2
    x, start = torch.randn(2, 9, 9).double(), torch.rand(2, 9) < 0.2
    torch.testing.assert_close(
        product(x, product.initial_state(2), start)[0], gated(x, gated.initial_state(2), start)[0]
    )


def test_three_corrections_keep_the_contract_and_none_is_refused():
    check_memory(DeltaProduct(8, num_heads=2, corrections=3))
    memory = DeltaProduct(8)
    torch.testing.assert_close(2 * memory.gates.bias[:2].detach().sigmoid(), torch.full((2,), 0.5))
    assert isinstance(memory.gates, nn.Linear)
    with pytest.raises(ValueError, match="corrections must be positive: corrections=0"):
        DeltaProduct(8, corrections=0)
