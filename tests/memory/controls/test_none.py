import torch
from torch import nn

from lifelong.memory import NoMemory


def test_it_maps_the_present_step_and_nothing_else():
    memory = NoMemory(1)
    nn.init.constant_(memory.linear.weight, 2.0)
    nn.init.constant_(memory.linear.bias, 1.0)
    x = torch.tensor([[[3.0], [0.0], [5.0]]])
    y, _ = memory(x, memory.initial_state(1), torch.zeros(1, 3, dtype=torch.bool))
    assert y.flatten().tolist() == [7.0, 1.0, 11.0]


def test_it_keeps_no_byte():
    assert NoMemory(8).state_bytes == 0
