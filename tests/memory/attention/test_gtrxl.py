import math

import torch
from torch import nn

from lifelong.memory import GTrXL


def test_a_gate_mixes_the_input_with_what_is_attended_to():
    memory = GTrXL(1, num_heads=1, mem_len=1, gate_bias=math.log(3))
    memory.norm = nn.Identity()
    for name, p in memory.named_parameters():
        if name != "gate.bias":
            nn.init.zeros_(p)
    memory.keys_values.weight.data[1] = 1.0  # all keys are equal: the mean of the values, which are x
    nn.init.ones_(memory.output.linear.weight)
    memory.gate.input.weight.data[2] = 1.0
    memory = memory.double()
    x = torch.tensor([[[math.log(2)], [math.log(8)], [-1.0]]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # z = 1/4.  mean log 2: tanh = 3/5;  mean log 4: tanh = 15/17;  a new life: ReLU(-1) = 0
    want = [0.75 * math.log(2) + 0.15, 0.75 * math.log(8) + 15 / 68, -0.75]
    torch.testing.assert_close(y.flatten(), torch.tensor(want).double())


def test_a_new_memory_nearly_passes_its_input_on():
    torch.manual_seed(0)
    memory = GTrXL(16, gate_bias=10.0)
    x = torch.randn(1, 9, 16)
    y, _ = memory(x, memory.initial_state(1), torch.zeros(1, 9, dtype=torch.bool))
    torch.testing.assert_close(y, x, rtol=0, atol=1e-2)
