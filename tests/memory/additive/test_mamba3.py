import math

import pytest
import torch
from torch import nn

from lifelong.memory import Mamba3

THREE = math.log(3)


class Bare(nn.Module):
    """Stub of the output: y is the reading."""

    def forward(self, reading, x):
        return reading.flatten(-2)


class Still(nn.Module):
    """Stub of a norm: nothing is changed."""

    def forward(self, x):
        return x


def stripped(share, theta=0.0):
    """Return a Mamba-3 whose input is q, k and v, with dt = 1, a decay of 1/2 and every first pair turned."""
    memory = Mamba3(9, num_heads=1, key_dim=4, value_dim=1)
    for p in memory.parameters():
        nn.init.zeros_(p)
    memory.norm_q, memory.norm_k, memory.output = Still(), Still(), Bare()
    memory.project.weight.data[:] = torch.eye(9)
    memory.gates.bias.data[:] = torch.tensor([math.expm1(1), math.expm1(math.log(2)), share]).log()
    memory.gates.bias.data[2] = share
    if theta:
        memory.turn.weight.data[0, 8] = 1.0
    return memory.double()


def lived(memory, *steps):
    x = torch.tensor([[*steps]]).double()
    start = torch.zeros(1, len(steps), dtype=torch.bool)
    start[0, -1] = True
    return memory(x, memory.initial_state(1), start)[0].flatten()


def test_a_share_of_every_pair_is_written_one_step_late():
    along = [1.0, 0.0, 0.0, 0.0]
    y = lived(stripped(THREE), *[[*along, *along, v] for v in (4.0, 8.0, 0.0, 4.0)])
    # 3/4 at once, 1/4 a step later, before the decay of 1/2.  3;  (3 + 1) / 2 + 6 = 8;  (8 + 2) / 2 = 5;  a new life: 3
    torch.testing.assert_close(y, torch.tensor([3.0, 8.0, 5.0, 3.0]).double())


def test_the_first_pair_of_channels_turns_and_the_second_stays():
    memory = stripped(100.0, theta=1.0)
    memory.turn.weight.data[0, 8] = math.atanh(0.5) / 4  # half of pi in a step whose value is 4
    read = [0.0, 1.0, 1.0, 0.0]
    y = lived(memory, [*read, 1.0, 0.0, 10.0, 0.0, 0.0], [*read, 0.0, 0.0, 0.0, 0.0, 4.0], [0.0] * 9)
    assert y.tolist() == pytest.approx([0.0, 0.0, 0.0])  # no value was written
    y = lived(memory, [*read, 1.0, 0.0, 10.0, 0.0, 4.0], [*read, 0.0, 0.0, 0.0, 0.0, 4.0], [0.0] * 9)
    # 4 at (1, 0, 10, 0) is read at (0, 1, 1, 0): 40;  halved, turned to (0, 1, 10, 0): 2 + 20
    assert y.tolist() == pytest.approx([40.0, 22.0, 0.0])


def test_a_pass_turns_its_state_back():
    torch.manual_seed(0)
    memory = Mamba3(8).double()
    x, never = torch.randn(1, 9, 8).double(), torch.zeros(1, 9, dtype=torch.bool)
    whole, end = memory(x, memory.initial_state(1), never)
    _, between = memory(x[:, :4], memory.initial_state(1), never[:, :4])
    rest, other_end = memory(x[:, 4:], between, never[:, 4:])
    torch.testing.assert_close(rest, whole[:, 4:])
    torch.testing.assert_close(other_end["S"], end["S"])


def test_writes_fade_within_the_horizons():
    memory = Mamba3(64, num_heads=2, horizons=(10.0, 1e4), step_size=0.5)
    dt, rate, _ = nn.functional.softplus(memory.gates.bias.detach()).split(2)
    torch.testing.assert_close(1 / (dt * rate), torch.tensor([10.0, 1e4]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("K", [3, 5])
def test_keys_that_are_no_pairs_are_refused(K):
    with pytest.raises(ValueError, match=f"key_dim must be even and at least 4: key_dim={K}"):
        Mamba3(8, key_dim=K)
