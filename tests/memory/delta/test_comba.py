import math

import torch

from lifelong.memory import Comba, GatedDelta


def test_less_is_erased_than_written_and_the_key_is_taken_from_the_query(bare):
    memory = bare(Comba(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1))  # beta = 1/2, alpha = 1/2, b = 1/2
    memory.feedback.data[:] = 0.25
    x = torch.tensor([[[1.0, 1.0, v] for v in (8.0, 8.0, 4.0)]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # S = 4;  4 / 2 - 4 / 4 + 4 = 5;  a new life: 2;  read at 1 - 1/4
    torch.testing.assert_close(y.flatten(), 0.75 * torch.tensor([4.0, 5.0, 2.0]).double(), rtol=1e-5, atol=0)
    assert math.isclose(state["S"].item(), 2.0, rel_tol=1e-5)


def test_a_decay_that_takes_everything_leaves_the_present_pair(bare):
    memory = bare(Comba(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1))
    memory.gates.bias.data[1] = 1e6
    x = torch.tensor([[[1.0, 1.0, v] for v in (8.0, 0.0)]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.zeros(1, 2, dtype=torch.bool))
    # of 4 a quarter is erased, and of it nothing was left: e^-10 - 1/4 of it
    torch.testing.assert_close(y.flatten(), torch.tensor([4.0, 4 * (math.exp(-10) - 0.25)]).double(), rtol=1e-5, atol=0)


def test_without_decay_feedback_and_restraint_it_is_the_gated_delta_rule(bare):
    x, start = torch.randn(2, 9, 9).double(), torch.rand(2, 9) < 0.2
    ys = []
    for make in (GatedDelta, Comba):
        memory = bare(make(9, num_heads=1, key_dim=3, value_dim=3, conv_size=1))
        memory.gates.bias.data[1] = -50.0
        if make is Comba:
            memory.erased.data[:] = 50.0
        ys.append(memory(x, memory.initial_state(2), start)[0])
    torch.testing.assert_close(*ys)
