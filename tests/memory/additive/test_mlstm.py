import math

import pytest
import torch
from torch import nn

from lifelong.memory import MLSTM
from lifelong.memory.additive.mlstm import stabiliser


def given(bare):
    """Return an mLSTM with forget gate 1/2 and the last channel of x as input gate and value."""
    memory = bare(MLSTM(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1))
    memory.gates.weight.data[0, 2] = 1.0
    return memory


def test_a_reading_is_the_mean_weighted_by_the_exponential_of_the_gate(bare):
    memory = given(bare)
    gate = [15 * math.tanh(v / 15) for v in (2.0, 3.0, -1.0, -2.0)]
    x = torch.tensor([[[1.0, 1.0, v] for v in (2.0, 3.0, -1.0, -2.0)]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, False, True]]))
    # what is written weighs exp(i), what is there halves at every step; below a weight of 1, by 1 is divided
    a, b, c, d = (math.exp(i) for i in gate)
    want = [
        2.0,
        (a / 2 * 2 + b * 3) / (a / 2 + b),
        (a / 4 * 2 + b / 2 * 3 - c) / (a / 4 + b / 2 + c),
        d * -2,  # a new life, of weight exp(-2) < 1
    ]
    torch.testing.assert_close(y.flatten(), torch.tensor(want).double())


def test_the_stabiliser_is_the_largest_weight_so_far_faded():
    f, i = torch.tensor([-1.0, -1.0, -1.0, -1.0]), torch.tensor([5.0, 0.0, -9.0, 2.5])
    m = stabiliser(f[None, :, None], i[None, :, None], torch.tensor([[7.0]]), torch.zeros(1, 4, dtype=torch.bool))
    assert m.flatten().tolist() == [6.0, 5.0, 4.0, 3.0]  # what came in is largest throughout: 7 - 1 and so on
    start = torch.tensor([[True, False, True, False]])
    m = stabiliser(f[None, :, None], i[None, :, None], torch.tensor([[7.0]]), start)
    assert m.flatten().tolist() == [5.0, 4.0, -1.0, 2.5]  # 5;  5 - 1;  a new life, 0 - 1 beats -9;  2.5


@pytest.mark.parametrize("T", [1, 2, 3, 8, 37])
def test_doubling_is_the_loop(T):
    torch.manual_seed(T)
    f, i = -torch.rand(3, T, 2).double(), torch.randn(3, T, 2).double()
    start, m = torch.rand(3, T) < 0.2, torch.randn(3, 2).double()
    want = []
    state = m
    for t in range(T):
        state = torch.maximum(f[:, t] + state.masked_fill(start[:, t, None], 0.0), i[:, t])
        want.append(state)
    torch.testing.assert_close(stabiliser(f, i, m, start), torch.stack(want, 1))


def test_what_is_read_does_not_depend_on_the_stabiliser(bare):
    memory = given(bare)
    x, never = torch.randn(2, 7, 3).double(), torch.zeros(2, 7, dtype=torch.bool)
    _, state = memory(torch.randn(2, 5, 3).double(), memory.initial_state(2), never[:, :5])
    shifted = state.clone()
    shifted["S"], shifted["m"] = state["S"] * math.exp(-3), state["m"] + 3
    torch.testing.assert_close(memory(x, shifted, never)[0], memory(x, state, never)[0])


def test_the_gradient_through_the_stabiliser_is_nothing(bare, monkeypatch):
    memory = given(bare)
    nn.init.normal_(memory.gates.weight)
    x, never = torch.randn(1, 6, 3).double().requires_grad_(), torch.zeros(1, 6, dtype=torch.bool)

    def gradient():
        return torch.autograd.grad(memory(x, memory.initial_state(1), never)[0].sum(), x)[0]

    whole = gradient()
    monkeypatch.setattr("lifelong.memory.additive.mlstm.stabiliser", lambda *given: stabiliser(*given).detach())
    torch.testing.assert_close(gradient(), whole)
