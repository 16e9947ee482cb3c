import math

import pytest
import torch
from torch import nn

from lifelong.memory import MinGRU, MinLSTM

THEN_A_NEW_LIFE = torch.tensor([[False, False, True]])


def stripped(memory, *gates):
    """Set the gates to sigmoids of these numbers and the candidate to x."""
    for p in memory.parameters():
        nn.init.zeros_(p)
    memory.gates.bias.data[:] = torch.tensor(gates)
    nn.init.ones_(memory.candidate.weight)
    return memory.double()


def lived(memory, *values):
    x = torch.tensor(values).double()[None, :, None]
    y, state = memory(x, memory.initial_state(1), THEN_A_NEW_LIFE)
    torch.testing.assert_close(state["h"], y[:, -1])
    return y.flatten()


def test_a_mingru_keeps_three_quarters_and_takes_one_quarter_of_what_is_new():
    y = lived(stripped(MinGRU(1), -math.log(3)), 4.0, 8.0, -4.0)
    # 4 / 4 = 1;  3/4 + 8 / 4 = 2.75;  a new life: -1
    torch.testing.assert_close(y, torch.tensor([1.0, 2.75, -1.0]).double())


def test_a_minlstm_shares_a_unit_as_its_gates_are_to_each_other():
    y = lived(stripped(MinLSTM(1), math.log(3), math.log(1 / 3)), 4.0, 8.0, -4.0)
    # f = 3/4 and i = 1/4 share 3 : 1, as above
    torch.testing.assert_close(y, torch.tensor([1.0, 2.75, -1.0]).double())
    y = lived(stripped(MinLSTM(1), math.log(3), math.log(3)), 4.0, 8.0, -4.0)
    torch.testing.assert_close(y, torch.tensor([2.0, 5.0, -2.0]).double())  # both 3/4: half and half


def test_positive_candidates_are_above_zero():
    memory = stripped(MinGRU(1, positive=True), 0.0)
    y = lived(memory, 1.5, -math.log(3), -math.log(3))
    # 1.5 + 1/2 = 2, half of it: 1;  sigmoid = 1/4: 1/2 + 1/8;  a new life: 1/8
    torch.testing.assert_close(y, torch.tensor([1.0, 0.625, 0.125]).double())


@pytest.mark.parametrize("make", [MinGRU, MinLSTM])
def test_units_fade_within_the_horizons(make):
    memory = make(8, horizons=(10.0, 1e4))
    kept, taken = memory.shares(memory.gates.bias.detach()[None, None])
    torch.testing.assert_close(-1 / kept[0, 0, [0, -1]], torch.tensor([10.0, 1e4]), rtol=1e-3, atol=0)
    torch.testing.assert_close(kept.exp() + taken, torch.ones(1, 1, 8))


def test_no_units_are_refused():
    with pytest.raises(ValueError, match="hidden must be positive: hidden=0"):
        MinGRU(8, hidden=0)
