import math

import pytest
import torch
from torch import nn

from lifelong.kernels.inner_loop.muon import STEPS, orthogonal
from lifelong.kernels.inner_loop.network import split
from lifelong.memory import LaCT


class Blind(nn.Module):
    """Stub of the attention: returns zero."""

    def forward(self, x, state, start):
        return 0.0, state


def test_a_chunk_is_read_before_it_is_learned(bare):
    memory = bare(LaCT(2, num_heads=1, hidden=1, chunk=2))
    memory.attention, memory.gates = Blind(), nn.Linear(6, 3).double()
    memory.weights.data = torch.tensor(
        [[0.0, 1.0, 1.0, 1.0, 1.0, 0.0]]
    ).double()  # W_0 = (0, 1), W_1 = (1; 1), W_2 = (1, 0)
    x = torch.tensor([[[1.0, 0.0, 1.0, 0.0, 2.0, 1.0]]]).double().expand(1, 5, 6)  # q = k = (1, 0), v = (2, 1)
    never = torch.zeros(1, 5, dtype=torch.bool)
    y, state = memory(x, LaCT.initial_state(LaCT(2, num_heads=1, hidden=1, chunk=2).double(), 1), never)
    # W_0 k = 0, W_2 k = 1: nothing is said, and only W_0 has a gradient, along k. Made orthogonal it is of length s;
    # lambda = 1: W_0 = (s, 1), brought back to length 1.
    s = 1.0
    for a, b, c in STEPS:
        s = a * s + b * s**3 + c * s**5
    z = s / (1 + s * s) ** 0.5
    said = z / (1 + math.exp(-z))
    want = torch.tensor([[0.0, 0.0], [0.0, 0.0], [said, said], [said, said]]).double()
    torch.testing.assert_close(y[0, :4], want, rtol=1e-4, atol=0)  # the eps of the normaliser, and of the keys
    assert state["phase"].item() == 1


def test_rows_keep_the_length_they_were_born_with():
    torch.manual_seed(0)
    memory = LaCT(16)
    state = memory(torch.randn(1, 160, 16), memory.initial_state(1), torch.zeros(1, 160, dtype=torch.bool))[1]
    assert state["fast"].abs().max() > 0.1
    for now, first in zip(
        split(memory.weights + state["fast"], memory.layers), split(memory.weights, memory.layers), strict=True
    ):
        torch.testing.assert_close(now.norm(dim=-1)[0], first.norm(dim=-1))


def test_an_unfinished_chunk_is_lost_with_its_life():
    memory = LaCT(8).double()
    x, start = torch.randn(1, 40, 8).double(), torch.zeros(1, 40, dtype=torch.bool)
    start[0, 15] = True  # 15 steps, one too few
    _, state = memory(x, memory.initial_state(1), start)
    alone = memory(x[:, 15:], memory.initial_state(1), start[:, 15:])[1]
    torch.testing.assert_close(state["fast"], alone["fast"])
    assert state["phase"].item() == 25 - 16


def test_all_directions_of_a_gradient_become_about_equal():
    torch.manual_seed(0)
    for shape in ((12, 5), (5, 12)):
        G = torch.randn(3, *shape) * torch.tensor([1e-2, 1.0, 1e3])[:, None, None]
        values = torch.linalg.svdvals(orthogonal(G))
        assert values.min() > 0.6
        assert values.max() < 1.3
    assert not orthogonal(torch.zeros(2, 2)).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk": 1}, "chunk must be at least 2: chunk=1"),
        ({"chunk": 8, "cache": 7}, "cache must be at least chunk.*cache=7, chunk=8"),
        ({"hidden": 0}, "hidden must be positive: hidden=0"),
        ({"horizons": (9.0, 1.0)}, "horizons must be positive and rising"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LaCT(8, **options)
