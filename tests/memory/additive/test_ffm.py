import math

import pytest
import torch
from torch import nn

from lifelong.memory import FFM


def stripped(turn):
    """Return an FFM of one trace that halves and turns at every step, takes half of x, and shows Re S beside Im S."""
    memory = FFM(2, traces=1, contexts=1)
    for p in memory.parameters():
        nn.init.zeros_(p)
    nn.init.constant_(memory.log_fade, math.log(math.log(2)))
    nn.init.constant_(memory.frequency, turn)
    memory.enter.weight.data[0, 0] = 1.0  # the write gate stays at 1/2
    memory.enter.bias.data[4:] = 100.0  # out: all of the memory, nothing of x
    memory.mix.weight.data[:] = torch.eye(2)
    return memory.double()


def lived(memory, *values):
    x = torch.tensor([[[value, 0.0] for value in values]]).double()
    start = torch.tensor([[False] * (len(values) - 1) + [True]])
    return memory(x, memory.initial_state(1), start)


def test_a_trace_halves_and_turns_by_a_quarter():
    _, state = lived(stripped(math.pi / 2), 4.0, 8.0, 6.0)
    assert state["S"].flatten().tolist() == pytest.approx([3.0, 0.0])  # a new life: 6 / 2
    memory = stripped(math.pi / 2)
    x, never = torch.tensor([[[4.0, 0.0], [8.0, 0.0]]]).double(), torch.zeros(1, 2, dtype=torch.bool)
    y, state = memory(x, memory.initial_state(1), never)
    # 4 / 2 = 2;  halved and turned by 90 degrees i, plus 8 / 2: 4 + i
    assert state["S"].flatten().tolist() == pytest.approx([4.0, 1.0])
    # (2, 0) and (4, 1) are normed to (1, -1)
    torch.testing.assert_close(y, torch.tensor([[[1.0, -1.0], [1.0, -1.0]]]).double(), rtol=1e-5, atol=0)


def test_with_a_closed_output_gate_the_input_passes():
    memory = stripped(0.0)
    memory.enter.bias.data[4:] = -100.0
    memory.enter.weight.data[2, 0] = 3.0
    y, _ = lived(memory, 4.0, 8.0)
    torch.testing.assert_close(y[..., 0], torch.tensor([[12.0, 24.0]]).double())


def test_traces_fade_within_the_horizons_and_contexts_turn_within_the_periods():
    memory = FFM(8, horizons=(10.0, 1e4), periods=(4.0, 64.0))
    torch.testing.assert_close(memory.log_fade.exp()[[0, -1]], torch.tensor([0.1, 1e-4]))
    torch.testing.assert_close(2 * math.pi / memory.frequency, torch.tensor([4.0, 24.0, 44.0, 64.0]))


def test_periods_of_nothing_are_refused():
    with pytest.raises(ValueError, match="periods must be positive: periods=0"):
        FFM(8, periods=(0, 4))
