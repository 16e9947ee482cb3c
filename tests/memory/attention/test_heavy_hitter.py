import math

import pytest
import torch
from torch import nn

from lifelong.memory import HeavyHitter, Window, check_memory

FIRST, SECOND = [2.0, 0.0], [0.0, 3.0]  # two keys, brought to length 1
UNIT = 4096


def test_what_was_looked_at_least_makes_room(bare):
    memory = bare(HeavyHitter(5, num_heads=1, cache=3, recent=1, key_dim=2, value_dim=1, conv_size=1))
    nn.init.constant_(memory.sharpness, math.log(3))  # a key that fits weighs three times
    steps = [(FIRST, FIRST, 8.0), (FIRST, SECOND, 4.0), (FIRST, FIRST, 1.0), (FIRST, FIRST, 15.0), (FIRST, FIRST, 2.0)]
    x = torch.tensor([[[*q, *k, v] for q, k, v in steps]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, False, False, True]]))
    # 8;  (3 * 8 + 4) / 4 = 7;  (3 * 8 + 4 + 3 * 1) / 7 = 31 / 7;
    # scores now: 1 + 3/4 + 3/7, 1/4 + 1/7, and the last step, which is safe: the second goes.  (8 + 1 + 15) / 3 = 8
    # a new life: 2
    want = torch.tensor([8.0, 7.0, 31 / 7, 8.0, 2.0]).double()
    torch.testing.assert_close(y.flatten(), want, rtol=1e-5, atol=0)  # unit()'s eps
    assert state["age"].flatten().tolist() == [0, -1, -1]
    assert state["score"].flatten().tolist() == [UNIT, 0, 0]
    _, before = memory(x[:, :4], memory.initial_state(1), torch.zeros(1, 4, dtype=torch.bool))
    assert before["v"].flatten().tolist() == [8.0, 15.0, 1.0]
    # in 4096ths: 4096 + 3072 + 1755.4 + 1365.3 to the first, 1365.3 to the new one, 1755.4 + 1365.3 to the third
    assert before["score"].flatten().tolist() == [4096 + 3072 + 1755 + 1365, 1365, 1755 + 1365]


def test_a_recent_step_is_kept_however_little_it_was_looked_at(bare):
    memory = bare(HeavyHitter(5, num_heads=1, cache=3, recent=2, key_dim=2, value_dim=1, conv_size=1))
    nn.init.constant_(memory.sharpness, 50.0)  # the second step's key is never looked at
    steps = [(FIRST, FIRST, 8.0), (FIRST, SECOND, 4.0), (FIRST, FIRST, 1.0), (FIRST, FIRST, 15.0)]
    x = torch.tensor([[[*q, *k, v] for q, k, v in steps]]).double()
    _, state = memory(x, memory.initial_state(1), torch.zeros(1, 4, dtype=torch.bool))
    assert state["v"].flatten().tolist() == [15.0, 4.0, 1.0]  # the first went: it alone was old enough


def test_where_all_but_one_are_recent_it_is_a_window():
    torch.manual_seed(0)
    heavy, window = HeavyHitter(8, num_heads=2, cache=5, recent=4).double(), Window(8, num_heads=2, cache=5).double()
    nn.init.normal_(heavy.bias)
    window.load_state_dict(heavy.state_dict())
    x, start = torch.randn(3, 30, 8, dtype=torch.double), torch.rand(3, 30) < 0.1
    got, want = heavy(x, heavy.initial_state(3), start)[0], window(x, window.initial_state(3), start)[0]
    torch.testing.assert_close(got, want)


def test_a_small_cache_keeps_the_contract():
    check_memory(HeavyHitter(8, num_heads=2, cache=3, recent=1), steps=12, long_life=1000)


@pytest.mark.parametrize("recent", [0, 4])
def test_recent_steps_must_leave_room(recent):
    with pytest.raises(ValueError, match=rf"recent must be within 1 .. cache - 1: recent={recent}, cache=4"):
        HeavyHitter(8, cache=4, recent=recent)


def test_a_cache_without_a_past_is_refused():
    with pytest.raises(ValueError, match=r"cache must be at least 2.*cache=1"):
        HeavyHitter(4, cache=1)
