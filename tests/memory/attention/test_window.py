import math

import pytest
import torch
from torch import nn

from lifelong.memory import Window, make_memory

FIRST, SECOND = [2.0, 0.0], [0.0, 3.0]  # two keys, brought to length 1


def test_a_key_that_fits_weighs_three_times_and_the_third_step_has_forgotten_the_first(bare):
    memory = bare(Window(5, num_heads=1, cache=2, key_dim=2, value_dim=1, conv_size=1))
    nn.init.constant_(memory.sharpness, math.log(3))
    nn.init.constant_(memory.bias[0, 1], math.log(2))  # one step ago counts twice
    x = torch.tensor([[[*FIRST, *k, v] for k, v in [(FIRST, 7.0), (SECOND, 14.0), (FIRST, 8.0), (SECOND, 9.0)]]])
    start = torch.tensor([[False, False, False, True]])
    y, state = memory(x.double(), memory.initial_state(1), start)
    # itself: 7;  (3 * 2 * 7 + 14) / 7 = 8;  (2 * 14 + 3 * 8) / 5 = 10.4;  a new life sees itself: 9
    torch.testing.assert_close(
        y.flatten(), torch.tensor([7.0, 8.0, 10.4, 9.0]).double(), rtol=1e-5, atol=0
    )  # unit()'s eps
    assert state["count"].item() == 1


def test_the_count_stops_at_the_size_of_the_cache():
    memory = Window(4, cache=3)
    _, state = memory(torch.randn(1, 50, 4), memory.initial_state(1), torch.zeros(1, 50, dtype=torch.bool))
    assert state["count"].item() % 3 == 2  # and the present step is the third


def test_an_empty_slot_gets_no_weight():
    memory = Window(4, cache=8).double()
    x, start = torch.randn(1, 4, dtype=torch.double), torch.tensor([False])
    empty = memory.initial_state(1)
    rubbish = empty.clone()
    rubbish["k"].normal_(), rubbish["v"].normal_()
    torch.testing.assert_close(memory.step(x, rubbish, start)[0], memory.step(x, empty, start)[0])


def test_a_cache_without_a_past_is_refused():
    with pytest.raises(ValueError, match=r"cache must be at least 2.*cache=1"):
        Window(4, cache=1)


def test_softmax_is_full_attention_until_its_cache_is_full(bare):
    memory = bare(make_memory("softmax", 12, num_heads=2, key_dim=2, value_dim=2, conv_size=1, cache=6))
    nn.init.constant_(memory.sharpness, 3.0)
    x = torch.randn(2, 7, 12, dtype=torch.double)
    y, _ = memory(x, memory.initial_state(2), torch.zeros(2, 7, dtype=torch.bool))
    q, k, v, _ = memory.project(x, None, None)
    full = nn.functional.scaled_dot_product_attention(
        *(z.transpose(1, 2) for z in (q, k, v)), is_causal=True, scale=3.0
    )
    full = full.transpose(1, 2).flatten(-2)
    torch.testing.assert_close(y[:, :6], full[:, :6])
    assert (y[:, 6] - full[:, 6]).abs().max() > 1e-3  # the seventh step no longer sees the first


def test_softmax_remembers_a_thousand_steps_by_default():
    assert make_memory("softmax", 8).cache == 1024
    assert make_memory("softmax", 8).initial_state(1)["k"].shape[1] == 1023
