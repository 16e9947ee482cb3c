import cmath
import math

import pytest
import torch
from torch import nn

from lifelong.memory import S4D


def stripped(memory, turn):
    """Return an S4D whose states halve and rotate by `turn` at every step, with an open output gate."""
    for p in memory.parameters():
        nn.init.zeros_(p)
    dt = 2 * math.log(2)  # A = -1/2: exp(-1/2 dt) = 1/2
    nn.init.constant_(memory.log_step, math.log(dt))
    nn.init.constant_(memory.log_fade, math.log(0.5))
    nn.init.constant_(memory.frequency, turn / dt)
    memory.read.data[..., 0] = 0.5
    memory.output.weight.data[0] = 1.0
    memory.output.bias.data[1] = 100.0
    return memory.double()


def lived(memory, *values, start=None):
    x = torch.tensor(values).double()[None, :, None]
    begins = torch.tensor([[step == start for step in range(len(values))]])
    return memory(x, memory.initial_state(1), begins)


def test_a_wave_that_does_not_turn_is_a_fading_sum():
    memory = stripped(S4D(1, modes=1), turn=0.0)
    y, _ = lived(memory, 40.0, 60.0, 80.0, start=2)
    # written with (1/2 - 1) / (-1/2) = 1, read with 2 * 1/2:  40;  40 / 2 + 60 = 80;  a new life: 80
    torch.testing.assert_close(y.flatten(), torch.tensor([40.0, 80.0, 80.0]).double(), rtol=1e-6, atol=0)


def test_a_wave_turns_in_the_state_and_in_what_is_read():
    memory = stripped(S4D(1, modes=1), turn=math.pi / 6)
    values = [40.0, 60.0, 80.0, 50.0]
    y, state = lived(memory, *values)
    A = complex(-0.5, math.pi / 6 / (2 * math.log(2)))
    factor, h, want = cmath.rect(0.5, math.pi / 6), 0j, []
    for value in values:
        h = factor * h + (factor - 1) / A * value
        want.append(h.real)
    assert min(want) > 8  # where GELU is open
    torch.testing.assert_close(y.flatten(), torch.tensor(want).double(), rtol=1e-6, atol=0)
    assert state["h"].flatten().tolist() == pytest.approx([h.real, h.imag], rel=1e-6)


def test_the_slowest_waves_fade_within_the_horizons():
    memory = S4D(8, horizons=(10.0, 1e5))
    fade = memory.log_step.exp() * memory.log_fade.exp()[:, 0]
    torch.testing.assert_close(1 / fade[[0, -1]], torch.tensor([10.0, 1e5]), rtol=1e-3, atol=0)


def test_no_modes_are_refused():
    with pytest.raises(ValueError, match="modes must be positive: modes=0"):
        S4D(8, modes=0)
