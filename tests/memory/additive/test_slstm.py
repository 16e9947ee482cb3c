import math

import pytest
import torch
from torch import nn

from lifelong.memory import SLSTM


def stripped():
    """Return an sLSTM of one cell: decay 1/2, i = 0, z = x, output gate 1/2."""
    memory = SLSTM(1, conv_size=1)
    memory.norm, memory.output = nn.Identity(), nn.Identity()
    for p in memory.parameters():
        nn.init.zeros_(p)
    nn.init.ones_(memory.conv)
    memory.cells.weight.data[0] = 1.0
    return memory.double()


def lived(memory, *values, start=None):
    x = torch.tensor(values).double()[None, :, None]
    begins = torch.tensor([[step == start for step in range(len(values))]])
    return memory(x, memory.initial_state(1), begins)


def test_a_cell_is_a_weighted_mean():
    y, state = lived(stripped(), 1.0, 2.0, -1.0, start=2)
    a, b = math.tanh(1), math.tanh(2)
    # a / 1;  (a / 2 + b) / (1 / 2 + 1);  a new life: -a;  half of each
    want = torch.tensor([a / 2, (a / 2 + b) / 3, -a / 2]).double()
    torch.testing.assert_close(y.flatten(), want)
    assert state["n"].item() == 1


def test_an_input_gate_weighs_exponentially():
    memory = stripped()
    memory.gates.weight.data[0] = 1.0  # i = silu(x), large x: x itself
    y, state = lived(memory, 30.0, 31.0)
    # weights e^30 / 2 and e^31 of two inputs of tanh = 1: the mean is 1, n in units of e^31 is 1 / (2 e) + 1
    torch.testing.assert_close(y.flatten(), torch.tensor([0.5, 0.5]).double())
    assert state["n"].item() == pytest.approx(1 + 0.5 / math.e)
    assert state["m"].item() == pytest.approx(31.0)


def test_what_was_said_is_heard():
    memory = stripped()
    memory.recurrent.data[0, 2] = 3.0  # z = x + 3 h
    y, _ = lived(memory, 1.0, 0.0)
    h = math.tanh(1) / 2
    want = torch.tensor([h, (math.tanh(1) / 2 + math.tanh(3 * h)) / 3]).double()
    torch.testing.assert_close(y.flatten(), want)


def test_a_row_that_starts_does_not_move_the_others():
    torch.manual_seed(0)
    memory = SLSTM(8).double()
    x, never = torch.randn(2, 6, 8).double(), torch.zeros(2, 6, dtype=torch.bool)
    alone, _ = memory(x, memory.initial_state(2), never)
    begins = never.clone()
    begins[0, 3] = True
    y, _ = memory(x, memory.initial_state(2), begins)
    torch.testing.assert_close(y[1], alone[1])
    torch.testing.assert_close(y[:1, 3:], memory(x[:1, 3:], memory.initial_state(1), never[:1, 3:])[0])


def test_cells_fade_within_the_horizons():
    memory = SLSTM(8, horizons=(10.0, 1e5))
    kept = nn.functional.logsigmoid(memory.gates.bias[8:])
    torch.testing.assert_close(-1 / kept[[0, -1]], torch.tensor([10.0, 1e5]), rtol=1e-2, atol=0)
