import math

import torch
from torch import nn

from lifelong.memory import Hebbian


def test_every_step_is_written_at_the_rate_and_leaks(bare):
    memory = bare(Hebbian(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1))
    nn.init.constant_(memory.rate, math.log(math.expm1(3.0)))  # eta = 3, and softplus(0) = log 2 leaves half
    x = torch.tensor([[[2.0, 0.0, 5.0, 0.0, v] for v in (4.0, 1.0, 2.0)]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # 3 * 4 = 12;  12 / 2 + 3 = 9;  a new life: 6
    torch.testing.assert_close(y.flatten(), torch.tensor([12.0, 9.0, 6.0]).double(), rtol=1e-5, atol=0)  # unit()'s eps


def test_nothing_is_chosen():
    memory = Hebbian(8)
    parts = memory.parts(torch.randn(2, 5, 8), memory.initial_state(2), torch.zeros(2, 5, dtype=torch.bool))
    torch.testing.assert_close(parts.gate, torch.ones(2, 5, 1))
    torch.testing.assert_close(-1 / parts.decay, torch.full((2, 5, 1), 1e4), rtol=1e-3, atol=0)
