import math

import pytest
import torch
from torch import nn

from lifelong.memory import AGaLiTe


def stripped(vectors):
    """Return an AGaLiTe of one channel: x is key and value, the query 1, all gates 1/2."""
    memory = AGaLiTe(1, features=1, vectors=vectors)
    for p in memory.parameters():
        nn.init.zeros_(p)
    memory.output = nn.Identity()
    memory.project.weight.data[[0, 2]] = 1.0  # k, v
    memory.project.bias.data[[1, 5, 6]] = 1.0  # q, and the maps of k and q
    return memory.double()


def lived(memory, *values, start=None):
    x = torch.tensor(values).double()[None, :, None]
    begins = torch.tensor([[step == start for step in range(len(values))]])
    return memory(x, memory.initial_state(1), begins)


def test_keys_and_values_fade_and_turn_in_a_few_vectors():
    y, state = lived(stripped(3), 8.0, 4.0, 8.0, start=2)  # gamma = 1/4, beta = 1/2, waves -pi, 0, pi
    # cos: -1, 1, -1.  a = 2 (-1, 1, -1), b = 4 (-1, 1, -1), s = 2: 3 * 2 * 4 / (6 * 2)
    # cos: 1, 1, 1.  a = 3/4 a + 1 = (-.5, 2.5, -.5), b = b / 2 + 2 = (0, 4, 0), s = 2.5: 10 / (6 * 2.5)
    torch.testing.assert_close(y.flatten(), torch.tensor([2.0, 2 / 3, 2.0]).double(), rtol=1e-5, atol=0)
    assert state["count"].item() == 1


def test_a_query_without_keys_reads_zero():
    y, _ = lived(stripped(3), -8.0)
    assert y.item() == 0.0


def test_many_vectors_are_the_exact_matrix():
    torch.manual_seed(0)
    memory = AGaLiTe(6, num_heads=1, features=2, vectors=4001).double()
    memory.output = nn.Identity()
    memory.project.bias.data += 1.0  # no key and no query is zero
    x, T = torch.randn(1, 5, 6).double(), 5
    y, _ = memory(x, memory.initial_state(1), torch.zeros(1, T, dtype=torch.bool))
    C, s = torch.zeros(6, 12).double(), torch.zeros(12).double()
    for t in range(T):
        z, maps = memory.project(x[0, t]).split([30, 6])
        k, q, v, beta, gamma = z.split(6)
        k = torch.outer(maps[:2].relu(), k.relu()).flatten()
        q = torch.outer(maps[2:4].relu(), q.relu()).flatten()
        gamma = torch.outer(maps[4:].sigmoid(), gamma.sigmoid()).flatten()
        beta = beta.sigmoid()
        C = (1 - beta)[:, None] * C * (1 - gamma) + torch.outer(beta * v, gamma * k)
        s = (1 - gamma) * s + gamma * k
    # the mean of cos(w n) cos(w m) over w is 1/2 where n = m, else about 0: of 2 R only a quarter is left
    torch.testing.assert_close(4 * y[0, -1], C @ q / (s @ q), rtol=0, atol=2e-3)


def test_no_vectors_are_refused():
    with pytest.raises(ValueError, match="vectors must be positive: vectors=0"):
        AGaLiTe(8, vectors=0)
    assert math.isfinite(AGaLiTe(8, vectors=1).step_flops)
