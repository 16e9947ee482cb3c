import math

import pytest
import torch
from torch import nn

from lifelong.memory import SHM


def stripped(rows):
    """Return an SHM of one fast weight: x is k = q, v and W_c x, half of v is written."""
    memory = SHM(1, size=1, rows=rows)
    memory.norm, memory.output = nn.Identity(), nn.Identity()
    memory.project.weight.data[:] = torch.tensor([[1.0], [1.0], [1.0], [1.0], [0.0]])
    return memory.double()


def test_a_row_of_theta_weakens_or_strengthens_what_is_stored():
    memory = stripped(rows=2)
    memory.theta.data[:] = torch.tensor([[-100.0], [math.atanh(0.5)]])
    x = torch.tensor([[[4.0], [1.0], [1.0], [2.0]]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, False, True]]))
    # rows of the steps 0, 1, 2: 0, .618 and .236 of 2, so 0, 1, 0.  4 / 2 = 2;  2 * 1.5 + 1 / 2 = 3.5;
    # 3.5 * 0 + 1 / 2;  a new life: 1
    torch.testing.assert_close(y.flatten(), torch.tensor([2.0, 3.5, 0.5, 1.0]).double(), rtol=1e-4, atol=0)
    assert state["count"].item() == 1


def test_all_rows_are_used_alike():
    memory = SHM(2, rows=16)
    memory.theta.data[:] = 0.0
    theta = nn.Parameter(memory.theta.data.clone())
    memory.theta = theta
    y, _ = memory(torch.randn(1, 160, 2), memory.initial_state(1), torch.zeros(1, 160, dtype=torch.bool))
    y.square().sum().backward()
    assert (theta.grad.abs().sum(1) > 0).all()


def test_a_fast_weight_that_doubles_at_every_step_is_held():
    memory = stripped(rows=1)
    nn.init.constant_(memory.theta, 100.0)
    never = torch.zeros(1, 3000, dtype=torch.bool)
    _, state = memory(torch.ones(1, 3000, 1).double(), memory.initial_state(1), never)
    assert state["S"].item() == 1e12


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="rows must be positive: rows=0"):
        SHM(8, rows=0)
