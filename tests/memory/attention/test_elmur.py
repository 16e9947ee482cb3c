import pytest
import torch
from torch import nn

from lifelong.memory import ELMUR, Memory, check_memory


class Mean(nn.Module):
    """Stub of attention: the mean of the entries seen, in place of x plus it."""

    def forward(self, x, entries, distance):
        self.distances = distance[0, -1].tolist()
        seen = (distance >= 0).double()[..., None]
        return (entries[:, None] * seen).sum(2) / seen.sum(2)


def stripped(**settings):
    """Return a memory of plain sums: no norms, no mlp; the last slots read are the output."""
    memory = ELMUR(1, **settings).double()
    memory.attend = nn.ModuleList(Mean() for _ in range(3))
    memory.norm = nn.ModuleList(nn.Identity() for _ in range(4))
    nn.init.zeros_(memory.first)
    nn.init.zeros_(memory.mlp[2].weight)
    nn.init.zeros_(memory.mlp[2].bias)
    nn.init.ones_(memory.output.weight)
    return memory


def lived(memory, *values, start=None):
    x = torch.tensor(values).double()[None, :, None]
    begins = torch.tensor([[step == start for step in range(len(values))]])
    return memory(x, memory.initial_state(1), begins)


def test_segments_read_all_slots_and_rewrite_one():
    memory = stripped(slots=2, segment=2, blend=0.25)
    y, state = lived(memory, 1.0, 3.0, 2.0, 4.0, 1.0, 1.0, 6.0, start=6)
    # segment 1: 1 + 1; 3 + (1 + 3) / 2; slot 0 = mean(2, 5) = 3.5
    # segment 2: 2 + 2 + 3.5 / 2; 4 + 3 + 3.5 / 2; slot 1 = mean(5.75, 8.75) = 7.25
    # segment 3: 1 + 1 + 10.75 / 2 = 7.375 twice; slot 0: new 3.5 + 7.375, old 3.5: 3.5 + 7.375 / 4
    want = [2.0, 5.0, 5.75, 8.75, 7.375, 7.375, 12.0]
    torch.testing.assert_close(y.flatten(), torch.tensor(want).double())
    assert not state["slots"].any()  # a new life
    _, state = lived(memory, 1.0, 3.0, 2.0, 4.0, 1.0, 1.0)
    assert state["slots"].flatten().tolist() == [3.5 + 7.375 / 4, 7.25]
    assert not state["inputs"].any()


def test_distances_are_those_since_the_last_write():
    memory = stripped(slots=3, segment=2)
    _, state = lived(memory, 1.0, 1.0, 1.0, 1.0)
    memory.step(torch.ones(1, 1).double(), state, torch.tensor([False]))
    assert memory.attend[0].distances == [0, -1]  # the first step of segment 3 sees itself
    assert memory.attend[1].distances == [4 - 1, 4 - 3, 4 + 1]  # slots written in steps 1 and 3, the last never
    assert memory.attend[2].distances == [4 + 1, 5 + 1]  # which is the one to be written


def test_what_is_not_rewritten_stays_as_it_is():
    torch.manual_seed(0)
    memory = ELMUR(8, slots=4, segment=3)
    x, never = torch.randn(1, 12, 8), torch.zeros(1, 12, dtype=torch.bool)
    _, before = memory(x[:, :6], memory.initial_state(1), never[:, :6])
    _, after = memory(x[:, 6:11], before, never[:, :5])
    assert after["slots"][:, :2].equal(before["slots"][:, :2])
    assert (after["slots"][0, 2] != 0).any()
    assert after["slots"][:, 3].equal(before["slots"][:, 3])


def test_the_contract_holds_when_slots_are_rewritten():
    check_memory(ELMUR(8, num_heads=2, slots=2, segment=3, distances=5), long_life=200)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"slots": 0}, "slots must be positive: slots=0"), ({"blend": 1.5}, "blend must be at most 1: blend=1.5")],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ELMUR(8, **settings)


def test_a_pass_says_what_its_steps_say():
    torch.manual_seed(0)
    memory = ELMUR(8, slots=3, segment=4).double()
    x, start = torch.randn(5, 23, 8).double(), torch.rand(5, 23) < 0.1
    state = memory.initial_state(5)
    state = memory(x[:, :2], state, start[:, :2])[1]  # phases differ where lives began
    torch.testing.assert_close(memory(x, state, start)[0], Memory.forward(memory, x, state, start)[0])
    after, wanted = memory(x, state, start)[1], Memory.forward(memory, x, state, start)[1]
    for name, value in after.items():
        torch.testing.assert_close(value, wanted[name])
