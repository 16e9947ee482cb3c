import math

import pytest
import torch
from torch import nn

from lifelong.memory import LRU, RTU, S5

THEN_A_NEW_LIFE = torch.tensor([[False, False, True]])


def zeroed(memory):
    for p in memory.parameters():
        nn.init.zeros_(p)
    return memory.double()


def quarter_turn(memory):
    """Let the one mode halve and turn by 90 degrees at every step, driven by x in its real part."""
    nn.init.constant_(memory.log_fade, math.log(math.log(2)))
    nn.init.constant_(memory.log_phase, math.log(math.pi / 2))
    memory.write.weight.data[0] = 1.0
    return memory


def lived(memory, *values):
    x = torch.tensor(values).double()[None, :, None]
    return memory(x, memory.initial_state(1), THEN_A_NEW_LIFE)


def test_an_lru_halves_and_turns_and_is_read_in_its_real_part():
    memory = quarter_turn(zeroed(LRU(1)))
    nn.init.constant_(memory.log_gain, math.log(3))
    memory.reading.linear.weight.data[0] = torch.tensor([1.0, -1.0]).double()  # C = 1 + i: Re h - Im h
    memory.reading.output.weight.data[0] = 1.0
    memory.reading.output.bias.data[1] = 100.0
    y, state = lived(memory, 20.0, 40.0, 30.0)
    # 3 * 20 = 60;  30 i + 120: 120 - 30 = 90;  a new life: 90
    torch.testing.assert_close(y.flatten(), torch.tensor([60.0, 90.0, 90.0]).double())
    assert state["h"].flatten().tolist() == pytest.approx([90.0, 0.0])


def test_rtus_are_rectified_one_by_one():
    memory = quarter_turn(zeroed(RTU(1)))
    memory.output.weight.data[0] = torch.tensor([1.0, 10.0]).double()
    y, _ = lived(memory, 4.0, -8.0, 4.0)
    # gain sqrt(1 - 1/4): h1 = 4 g;  turned and halved it is h2 = 2 g, and h1 = -8 g is not seen: 20 g;  a new life: 4 g
    torch.testing.assert_close(y.flatten(), math.sqrt(0.75) * torch.tensor([4.0, 20.0, 4.0]).double())


def test_s5_holds_its_input_over_dt():
    memory = zeroed(S5(1))
    nn.init.constant_(memory.log_step, math.log(math.log(2)))  # L = -1: exp(dt L) = 1/2
    memory.write.weight.data[0] = 1.0
    memory.reading.linear.weight.data[0, 0] = 2.0
    memory.reading.output.weight.data[0] = 1.0
    memory.reading.output.bias.data[1] = 100.0
    y, _ = lived(memory, 40.0, 60.0, 80.0)
    # (1/2 - 1) / -1 = 1/2 is written and 2 read: 40;  40 / 2 + 60 = 80;  a new life: 80
    torch.testing.assert_close(y.flatten(), torch.tensor([40.0, 80.0, 80.0]).double())


@pytest.mark.parametrize("make", [LRU, RTU, S5])
def test_modes_fade_within_the_horizons(make):
    rate = make(8, horizons=(10.0, 1e4)).modes()[0].sort().values
    torch.testing.assert_close(1 / rate[[-1, 0]], torch.tensor([10.0, 1e4]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("make", [LRU, RTU])
def test_white_noise_gives_every_mode_the_variance_of_its_input(make):
    rate, _, gain = make(8).modes()
    torch.testing.assert_close(gain[:, 0] ** 2 / -torch.expm1(-2 * rate), torch.ones(8))


@pytest.mark.parametrize("make", [LRU, RTU, S5])
def test_no_states_are_refused(make):
    with pytest.raises(ValueError, match="states must be positive: states=0"):
        make(8, states=0)
