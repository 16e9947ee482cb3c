import torch
from torch import nn

from lifelong.memory import FoX


def lived(memory, *steps, start=None):
    x = torch.tensor([[*steps]]).double()
    begins = torch.tensor([[step == start for step in range(len(steps))]])
    return memory(x, memory.initial_state(1), begins)


def test_a_step_weighs_half_as_much_with_every_step_after_it(bare):
    memory = bare(FoX(3, num_heads=1, cache=2, key_dim=1, value_dim=1, conv_size=1))  # f = 1/2, all keys are equal
    y, state = lived(memory, *[[1.0, 1.0, v] for v in (6.0, 12.0, 3.0, 9.0)], start=3)
    # 6;  (6 / 2 + 12) / 1.5;  (12 / 2 + 3) / 1.5;  a new life: 9
    torch.testing.assert_close(y.flatten(), torch.tensor([6.0, 10.0, 6.0, 9.0]).double())
    assert state["count"].item() == 1


def test_what_lies_before_a_closed_gate_is_forgotten_in_later_steps_too(bare):
    memory = bare(FoX(3, num_heads=1, cache=8, key_dim=1, value_dim=1, conv_size=1))
    memory.forget.bias.data[:], memory.forget.weight.data[0, 1] = 50.0, 50.0  # f = 1, or 0 where k = -2
    steps = [[1.0, 1.0, 6.0], [1.0, 1.0, 12.0], [1.0, -3.0, 3.0], [1.0, 1.0, 5.0]]
    y, state = lived(memory, *steps)
    torch.testing.assert_close(y.flatten(), torch.tensor([6.0, 9.0, 3.0, 4.0]).double())
    y, _ = memory(torch.tensor([[[1.0, 1.0, 1.0]]]).double(), state, torch.zeros(1, 1, dtype=torch.bool))
    torch.testing.assert_close(y.flatten(), torch.tensor([3.0]).double())  # (3 + 5 + 1) / 3, from the cache


def test_heads_fade_within_the_horizons():
    kept = nn.functional.logsigmoid(FoX(64, num_heads=4, horizons=(10.0, 1e4)).forget.bias.detach())
    torch.testing.assert_close(-1 / kept[[0, -1]], torch.tensor([10.0, 1e4]), rtol=1e-3, atol=0)
