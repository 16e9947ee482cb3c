import math

import torch

from lifelong.memory import KDA, GatedDelta2


def test_what_is_erased_is_not_what_is_written(bare):
    memory = bare(GatedDelta2(6, num_heads=1, key_dim=2, value_dim=2, conv_size=1))  # b = w = 1/2
    memory.fade[1].bias.data.fill_(-50.0)  # keeps all
    memory.gate.weight.data[0, 4] = 1.0  # b of the first channel follows v_1, w of the second value v_2
    memory.gate.weight.data[3, 5] = 1.0
    three = math.log(3)
    x = torch.tensor([[[1.0, 0.0, 1.0, 0.0, three, three], [1.0, 0.0, 1.0, 0.0, three, three]]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.zeros(1, 2, dtype=torch.bool))
    # b = 3/4 of the first channel; w = (1/2, 3/4).  S k = (1/2, 3/4) log 3;  a quarter of it and the same again: 5/4
    want = three * torch.tensor([[[0.5, 0.75], [0.625, 0.9375]]]).double()
    torch.testing.assert_close(y, want, rtol=1e-5, atol=0)  # unit()'s eps


def test_with_equal_gates_it_is_kimi_delta_attention(bare):
    x, start = torch.randn(2, 9, 9).double(), torch.rand(2, 9) < 0.2
    ys = []
    for make in (KDA, GatedDelta2):
        memory = bare(make(9, num_heads=1, key_dim=3, value_dim=3, conv_size=1))
        ys.append(memory(x, memory.initial_state(2), start)[0])
    torch.testing.assert_close(*ys)


def test_alternating_gates_can_make_what_is_stored_grow_and_equal_gates_cannot():
    """The bound that the other error-correcting memories have does not hold here."""

    def radius(b1, b2):
        k1, k2 = (torch.tensor([math.cos(a), math.sin(a)]).double() for a in (0.2, 1.2))
        erase = [torch.eye(2).double() - torch.outer(k, b * k) for k, b in ((k1, b1), (k2, b2))]
        return torch.linalg.eigvals(erase[0] @ erase[1]).abs().max().item()

    first, second = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    assert radius(second, first) > 1.15
    assert radius(0.7, 0.7) <= 1
