import math

import pytest
import torch
from torch import nn

from lifelong.memory import SRWM


class Reading(nn.Module):
    """Stub of the output: y is the reading."""

    def forward(self, reading, x):
        return reading.flatten(-2)


@pytest.fixture
def plain():
    """Return one head of two channels; x is the softmax's input."""
    memory = SRWM(2, num_heads=1).double()
    nn.init.eye_(memory.input.weight)
    memory.output = Reading()
    return memory


def test_what_it_says_at_the_query_becomes_what_it_says_at_the_key(plain):
    first, second = [50.0, 0.0], [0.0, 50.0]
    W = torch.zeros(1, 10, 2).double()
    W[0, 0] = torch.tensor([3.0, 7.0])  # y's first row
    W[0, 2] = 50.0  # q is the first channel
    W[0, 5] = 50.0  # k is the second
    plain.weight.data[:] = W  # rates of 0: beta = 1/2
    x = torch.tensor([[first, second, second, second]]).double()
    y, state = plain(x, plain.initial_state(1), torch.tensor([[False, False, False, True]]))
    # read 3 at the first; half of 3 - 7 is added at the second: 5, then 4;  a new life: 7
    torch.testing.assert_close(y[0, :, 0], torch.tensor([3.0, 5.0, 4.0, 7.0]).double())
    want = torch.zeros(10, 2).double()
    want[0, 1] = -2.0
    torch.testing.assert_close(state["F"][0, 0], want)


def test_each_block_has_its_own_rate(plain):
    weight = torch.randn(1, 10, 2).double()
    plain.weight.data[:] = weight
    x, no = torch.randn(1, 2).double(), torch.tensor([False])
    _, state = plain.step(x, plain.initial_state(1), no)
    q, k, b = (weight[0] @ x[0].softmax(-1))[2:].split([2, 2, 4])
    q, k, beta = q.softmax(-1), k.softmax(-1), b.sigmoid()
    for rate, block in zip(beta, (slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 10)), strict=True):
        want = rate * torch.outer(weight[0, block] @ (q - k), k)
        torch.testing.assert_close(state["F"][0, 0, block], want)


def test_rates_begin_around_one_half():
    torch.manual_seed(0)
    memory = SRWM(512, num_heads=16)
    b = memory.weight[:, -4:].mean(-1)  # at a softmax of equal channels
    assert b.mean().abs() < 0.05
    assert b.abs().max() < 0.15


def test_a_row_of_the_offset_is_no_longer_than_the_limit():
    memory = SRWM(2, num_heads=1, limit=0.5).double()
    state = memory.initial_state(1)
    state["F"][:] = 3.0
    _, state = memory.step(torch.randn(1, 2).double(), state, torch.tensor([False]))
    length = state["F"].norm(dim=-1)
    assert length.max() < 0.5 + 1e-9
    assert math.isclose(length.max().item(), 0.5, rel_tol=1e-6)
    with pytest.raises(ValueError, match="limit must be positive: limit=0"):
        SRWM(8, limit=0)
