import math

import pytest
import torch
from torch import nn

from lifelong.memory import SinkWindow, Window, check_memory

KEY = [2.0, 0.0]


def test_the_first_step_is_seen_for_ever_at_the_distance_of_the_cache(bare):
    memory = bare(SinkWindow(5, num_heads=1, sinks=1, cache=2, key_dim=2, value_dim=1, conv_size=1))
    memory.bias.data[0] = torch.tensor([0.0, math.log(2), math.log(3)])  # the one before counts twice, the sink thrice
    x = torch.tensor([[[*KEY, *KEY, v] for v in (6.0, 12.0, 18.0, 30.0, 9.0, 3.0)]]).double()
    start = torch.tensor([[False, False, False, False, True, False]])
    y, state = memory(x, memory.initial_state(1), start)
    # 6;  (12 + 2 * 6) / 3 = 8;  (18 + 2 * 12 + 3 * 6) / 6 = 10;  (30 + 2 * 18 + 3 * 6) / 6 = 14, 12 is gone;
    # a new life: 9;  (3 + 2 * 9) / 3 = 7, and its sink is its own
    torch.testing.assert_close(y.flatten(), torch.tensor([6.0, 8.0, 10.0, 14.0, 9.0, 7.0]).double())
    assert state["v"].flatten().tolist() == [9.0, 3.0]
    assert state["count"].item() == 2


def test_the_count_stops_when_the_sinks_have_left_the_window():
    memory = SinkWindow(4, sinks=2, cache=3)
    _, state = memory(torch.randn(1, 50, 4), memory.initial_state(1), torch.zeros(1, 50, dtype=torch.bool))
    assert state["count"].item() == 5


def test_while_all_fits_it_is_a_window_as_wide_as_sinks_and_cache():
    torch.manual_seed(0)
    sinks, wide = SinkWindow(8, num_heads=2, sinks=3, cache=4).double(), Window(8, num_heads=2, cache=7).double()
    nn.init.normal_(sinks.bias)
    wide.load_state_dict(sinks.state_dict())
    x, start = torch.randn(3, 20, 8, dtype=torch.double), torch.rand(3, 20) < 0.4
    start[:, ::7] = True  # no life is longer than seven steps
    torch.testing.assert_close(sinks(x, sinks.initial_state(3), start)[0], wide(x, wide.initial_state(3), start)[0])


def test_a_small_cache_keeps_the_contract():
    check_memory(SinkWindow(8, num_heads=2, sinks=2, cache=2), steps=12, long_life=1000)


@pytest.mark.parametrize(("options", "message"), [({"sinks": 0}, "sinks=0"), ({"cache": 1}, "cache=1")])
def test_sinks_and_a_past_there_must_be(options, message):
    with pytest.raises(ValueError, match=message):
        SinkWindow(4, **options)
