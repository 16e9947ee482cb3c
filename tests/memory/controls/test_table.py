import pytest
import torch
from torch import nn

from lifelong.memory import Table, check_memory


class First(nn.Module):
    """Stub of the output: y is (the value, whether the key is known, 0)."""

    def forward(self, z):
        return nn.functional.pad(z, (0, 1))


def read(steps, starts=(), **options):
    memory = Table(3, key_dim=2, **options)
    memory.output = First()
    x = torch.tensor([steps])
    start = torch.zeros(1, len(steps), dtype=torch.bool)
    start[0, list(starts)] = True
    y, state = memory(x, memory.initial_state(1), start)
    return [tuple(pair) for pair in y[0, :, :2].tolist()], state


RED, BLUE, GREEN = (1.0, 0.0), (0.0, 1.0), (1.0, 2.0)


def test_what_is_shown_belongs_to_what_was_asked_before():
    seen, _ = read([(*RED, 0.0), (*BLUE, 5.0), (*RED, 7.0), (*RED, 8.0), (*BLUE, 9.0)])
    # empty;  red is 5, blue unknown: red is all there is;  blue is 7, red 5;  red is 8 now;  red is 9, blue 7
    assert seen == [(0.0, 0.0), (5.0, 0.0), (5.0, 1.0), (8.0, 1.0), (7.0, 1.0)]


def test_the_oldest_key_goes_when_there_is_no_slot_left():
    seen, state = read([(*RED, 0.0), (*BLUE, 1.0), (*GREEN, 2.0), (*GREEN, 3.0), (*RED, 4.0)], slots=2)
    # red: 1;  blue: 2;  green: 3, in red's place;  green: 4;  red is unknown now, and blue is nearer (2 < 4)
    assert seen[-1] == (2.0, 0.0)
    assert state["known"].item() == 3
    assert state["value"].flatten().tolist() == [4.0, 2.0]


def test_a_new_life_knows_no_key_and_was_asked_nothing():
    seen, state = read([(*RED, 0.0), (*RED, 5.0), (*RED, 6.0), (*RED, 7.0)], starts=[2])
    assert seen == [(0.0, 0.0), (5.0, 1.0), (0.0, 0.0), (7.0, 1.0)]
    assert state["known"].item() == 1


def test_keys_within_a_quantum_are_the_same():
    seen, state = read([(1.0, 0.0, 0.0), (1.02, -0.04, 5.0), (0.96, 0.0, 6.0), (1.2, 0.0, 7.0)])
    assert seen[1:] == [(5.0, 1.0), (6.0, 1.0), (7.0, 0.0)]
    assert state["known"].item() == 1


def test_huge_keys_are_told_from_small_ones():
    seen, _ = read([(1e30, 0.0, 0.0), (0.0, 0.0, 5.0), (-1e30, 0.0, 6.0), (1e30, 0.0, 7.0)])
    assert seen[1:] == [(5.0, 0.0), (6.0, 0.0), (5.0, 1.0)]  # nearest to -1e30 is 0


@pytest.mark.parametrize("slots", [2, 3])
def test_a_small_table_keeps_the_contract(slots):
    check_memory(Table(8, key_dim=2, slots=slots, quantum=1.0), steps=20, long_life=1000)


@pytest.mark.parametrize("options", [{"key_dim": 0}, {"key_dim": 4}, {"slots": 1}, {"quantum": 0.0}])
def test_what_makes_no_table_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Table(4, **options)
