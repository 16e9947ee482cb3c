import math

import pytest
import torch

from lifelong.memory import RetNet


def test_a_key_is_met_at_the_angle_of_its_age(bare):
    memory = bare(
        RetNet(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1, horizons=(1 / math.log(2), 1 / math.log(2)))
    )
    key = [1.0, 0.0]
    x = torch.tensor([[[*key, *key, v] for v in (4.0, 6.0, 8.0, 2.0)]]).double()
    start = torch.tensor([[False, False, False, True]])
    state = memory.initial_state(1)
    state["S"] = state["S"].double()  # no parameter is left that would say so
    y, state = memory(x, state, start)
    # one pair turns by 1 a step, half is kept:  4;  4/2 cos 1 + 6;  4/4 cos 2 + 6/2 cos 1 + 8;  a new life: 2
    want = [4.0, 2 * math.cos(1) + 6, math.cos(2) + 3 * math.cos(1) + 8, 2.0]
    torch.testing.assert_close(y.flatten(), torch.tensor(want).double(), rtol=1e-5, atol=0)  # unit()'s eps
    assert state["steps"].item() == 1


def test_only_the_age_counts():
    torch.manual_seed(0)
    memory = RetNet(8).double()
    x, never = torch.randn(1, 6, 8).double(), torch.zeros(1, 6, dtype=torch.bool)
    late = memory.initial_state(1)
    late["steps"] += 1_000_000
    torch.testing.assert_close(memory(x, late, never)[0], memory(x, memory.initial_state(1), never)[0])


def test_the_steps_of_a_life_are_counted_from_its_start():
    memory = RetNet(8)
    start = torch.tensor([[False, False, True, False], [True, False, False, True], [False] * 4])
    state = memory.initial_state(3)
    state["steps"] += 5
    assert memory(torch.randn(3, 4, 8), state, start)[1]["steps"].flatten().tolist() == [2, 1, 9]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"key_dim": 3}, "key_dim must be even"), ({"base": 0.5}, "base must be at least 1: base=0.5")],
)
def test_what_cannot_turn_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RetNet(8, **options)
