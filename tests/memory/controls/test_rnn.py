import math

import pytest
import torch
from torch import nn

from lifelong.memory import GRU, LSTM

X = torch.full((1, 3, 1), math.log(3), dtype=torch.double)  # tanh(log 3) = 0.8, sigmoid(log 3) = 3/4
THEN_A_NEW_LIFE = torch.tensor([[False, False, True]])


def by_hand(memory, gates, keep, candidate):
    """Set the keeping gate to 3/4, the candidate to tanh(x) and all other gates to 1/2."""
    for p in memory.parameters():
        nn.init.zeros_(p)
    assert memory.network.bias_ih_l0.shape == (gates,)
    nn.init.constant_(memory.network.bias_ih_l0[keep : keep + 1], math.log(3))
    nn.init.ones_(memory.network.weight_ih_l0[candidate : candidate + 1])
    return memory.double()


def test_a_gru_keeps_three_quarters_and_takes_one_quarter_of_the_candidate():
    memory = by_hand(GRU(1), 3, keep=1, candidate=2)
    y, state = memory(X, memory.initial_state(1), THEN_A_NEW_LIFE)
    # 0.8 / 4 = 0.2;  3/4 of 0.2 + 0.2 = 0.35;  a new life: 0.2
    torch.testing.assert_close(y.flatten(), torch.tensor([0.2, 0.35, 0.2], dtype=torch.double))
    torch.testing.assert_close(state["h"], y[:, -1])


def test_an_lstm_keeps_three_quarters_and_takes_half_of_the_candidate():
    memory = by_hand(LSTM(1), 4, keep=1, candidate=2)
    y, state = memory(X, memory.initial_state(1), THEN_A_NEW_LIFE)
    # c: 0.8 / 2 = 0.4;  3/4 of 0.4 + 0.4 = 0.7;  a new life: 0.4.   h = tanh(c) / 2
    torch.testing.assert_close(y.flatten(), torch.tensor([0.4, 0.7, 0.4], dtype=torch.double).tanh() / 2)
    torch.testing.assert_close(state["c"].item(), 0.4)


def test_an_lstm_is_born_with_its_forget_gate_open():
    memory = LSTM(3)
    bias = (memory.network.bias_ih_l0 + memory.network.bias_hh_l0)[3:6]  # input, forget, cell, output
    assert bias.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("cell", [GRU, LSTM])
def test_a_hidden_size_of_its_own_is_mapped_back_to_the_width(cell):
    memory = cell(4, hidden=32)
    y, state = memory(torch.randn(2, 3, 4), memory.initial_state(2), torch.zeros(2, 3, dtype=torch.bool))
    assert y.shape == (2, 3, 4)
    assert state["h"].shape == (2, 32)


@pytest.mark.parametrize(("cell", "gates"), [(GRU, 3), (LSTM, 4)])
def test_a_step_costs_two_operations_a_weight(cell, gates):
    assert cell(4, hidden=8).step_flops == 2 * (gates * 8 * (4 + 8) + 8 * 4)
