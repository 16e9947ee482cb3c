import math

import pytest
import torch
from torch import nn

from lifelong.memory import TransformerXL, check_memory


class Bare(nn.Module):
    """Stub of the output: y is the reading."""

    def forward(self, reading, x):
        return reading.flatten(-2)


def without_output(memory):
    memory.output = Bare()
    return memory.double()


def test_what_a_head_looks_for_and_how_far_back_add_up():
    memory = without_output(TransformerXL(2, num_heads=1, mem_len=1, key_dim=1, value_dim=1))
    for p in memory.parameters():
        nn.init.zeros_(p)
    memory.keys_values.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()  # x is (k, v)
    nn.init.constant_(memory.content_bias, math.log(3))  # a key of 1 weighs three times
    nn.init.ones_(memory.distance_bias)
    memory.codes.copy_(torch.tensor([[0.0, 0.0], [math.log(2), 0.0]]))
    memory.distance.weight.data = torch.tensor([[1.0, 0.0]]).double()  # one step ago counts twice
    x = torch.tensor([[[1.0, 7.0], [0.0, 14.0], [1.0, 8.0], [0.0, 9.0]]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, False, True]]))
    # itself: 7;  (3 * 2 * 7 + 14) / 7 = 8;  (2 * 14 + 3 * 8) / 5 = 10.4;  a new life sees itself: 9
    torch.testing.assert_close(y.flatten(), torch.tensor([7.0, 8.0, 10.4, 9.0]).double())
    assert state["x"].tolist() == [[[0.0, 9.0]]]
    assert state["count"].item() == 1


def test_it_is_attention_with_the_published_scores():
    torch.manual_seed(0)
    memory = without_output(TransformerXL(6, num_heads=2, mem_len=3))
    nn.init.normal_(memory.content_bias), nn.init.normal_(memory.distance_bias)
    x = torch.randn(1, 7, 6, dtype=torch.double)
    y, _ = memory(x, memory.initial_state(1), torch.zeros(1, 7, dtype=torch.bool))
    q, (k, v) = memory.query(x[0]).view(7, 2, 3), memory.keys_values(x[0]).view(7, 2, 6).split(3, -1)
    r = memory.distance(memory.codes).view(4, 2, 3)
    for t in range(7):
        seen = range(max(0, t - 3), t + 1)
        scores = [
            ((q[t] + memory.content_bias) * k[s] + (q[t] + memory.distance_bias) * r[t - s]).sum(-1) / 3**0.5
            for s in seen
        ]
        weight = torch.stack(scores).softmax(0)  # [S, H]
        want = (weight[..., None] * v[seen.start : seen.stop]).sum(0).flatten()
        torch.testing.assert_close(y[0, t], want)


def test_a_step_looks_back_through_the_cache_with_its_gradient():
    torch.manual_seed(0)
    memory = TransformerXL(8, mem_len=4).double()
    x, start = torch.randn(1, 6, 8, dtype=torch.double, requires_grad=True), torch.zeros(1, 6, dtype=torch.bool)
    _, state = memory(x[:, :5], memory.initial_state(1), start[:, :5])
    y, _ = memory.step(x[:, 5], state, start[:, 5])
    reached = torch.autograd.grad(y.sum(), x)[0].abs().sum(-1) > 0
    assert reached.tolist() == [[False, True, True, True, True, True]]


def test_the_codes_are_sines_then_cosines_of_falling_frequency():
    codes = TransformerXL(4, mem_len=2).codes[2]
    want = torch.tensor([math.sin(2), math.sin(0.02), math.cos(2), math.cos(0.02)])
    torch.testing.assert_close(codes, want)


def test_a_small_cache_keeps_the_contract():
    check_memory(TransformerXL(8, num_heads=2, mem_len=2), steps=12, long_life=1000)


def test_a_cache_of_nothing_is_refused():
    with pytest.raises(ValueError, match="mem_len must be positive: mem_len=0"):
        TransformerXL(4, mem_len=0)
