import pytest
import torch
from torch import nn

from lifelong.memory import Additive, Parts, check_memory, make_memory


class Counting(Additive):
    """A user's memory: a scalar sum of x with decay 1/2, divided by its normaliser."""

    def __init__(self, width):
        super().__init__(width, num_heads=1, key_dim=1, value_dim=width, normaliser=True)
        self.linear = nn.Linear(width, 2)

    def initial_rest(self, batch):
        return {"steps": torch.zeros(batch, 1, dtype=torch.int64)}

    def parts(self, x, state, start):
        gate, fade = self.linear(x).split(1, -1)
        one = torch.ones_like(gate)[..., None]
        reset = start.any(1, keepdim=True)
        last = torch.where(reset, start.flip(1).int().argmax(1, keepdim=True) + 1, state["steps"] + x.shape[1])
        return Parts(
            q=one,
            k=one,
            v=x[:, :, None],
            read=lambda sums: sums[:, :, 0, :-1] / sums[:, :, 0, -1:],
            gate=1 + 4 * gate.sigmoid(),
            decay=-nn.functional.softplus(fade),
            rest={"steps": last},
        )


def test_a_reading_is_the_faded_and_gated_mean():
    memory = Counting(1)
    for p in memory.parameters():
        nn.init.zeros_(p)
    x, start = torch.tensor([[[4.0], [1.0], [7.0]]]), torch.tensor([[False, False, True]])
    y, state = memory(x, memory.initial_state(1), start)
    # gate 3, decay 1/2:  12 / 3 = 4;  (6 + 3) / (1.5 + 3) = 2;  a new life: 21 / 3 = 7
    torch.testing.assert_close(y.flatten(), torch.tensor([4.0, 2.0, 7.0]))
    torch.testing.assert_close(state["S"].flatten(), torch.tensor([21.0, 3.0]))
    assert state["steps"].item() == 1


def test_a_users_own_keeps_the_contract():
    check_memory(Counting(3))


def test_parts_must_be_defined():
    memory = Additive(2, num_heads=1, key_dim=1, value_dim=1)
    with pytest.raises(NotImplementedError, match="Additive must define parts"):
        memory(torch.zeros(1, 1, 2), memory.initial_state(1), torch.zeros(1, 1, dtype=torch.bool))


@pytest.mark.parametrize("name", ["elu", "relu", "taylor", "dpfp", "rebased", "hedgehog"])
def test_linear_attention_keeps_the_contract_with_every_feature_map(name):
    memory = make_memory("linear_attention", 8, feature_map=name)
    check_memory(memory)
    assert memory.state_bytes == 4 * (9 * memory.shape[2] + 24)  # S and the window of one head
