import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from lifelong.memory import Mamba2
from lifelong.memory.additive.mamba2 import GateFirst


def test_the_step_size_writes_and_fades_once(bare):
    memory = bare(Mamba2(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1))
    nn.init.constant_(memory.step_size.bias, math.log(math.expm1(2.0)))  # dt = 2
    nn.init.constant_(memory.log_rate, math.log(math.log(2) / 2))  # exp(-dt A) = 1/2
    nn.init.constant_(memory.skip, 10.0)
    x = torch.tensor([[[1.0, 0.0, 3.0, 5.0, v] for v in (4.0, 1.0, 2.0)]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # q . k = 3, not brought to length 1:  2 * 4 * 3 = 24;  24 / 2 + 2 * 1 * 3 = 18;  a new life: 12;  and ten values
    torch.testing.assert_close(y.flatten(), torch.tensor([64.0, 28.0, 32.0]).double(), rtol=1e-6, atol=0)


def test_the_gate_comes_before_the_norm():
    torch.manual_seed(0)
    output, reading, x = GateFirst(4, 1, 4), torch.randn(3, 1, 4), torch.randn(3, 4)
    gated = reading[:, 0] * functional.silu(output.gate(x))
    want = output.linear(gated / (gated.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    torch.testing.assert_close(output(reading, x), want)


def test_a_step_size_of_nothing_is_refused():
    with pytest.raises(ValueError, match="step_size must be positive: step_size=0"):
        Mamba2(8, step_size=0)
