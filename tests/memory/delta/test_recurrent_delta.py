import torch
from torch import nn

from lifelong.memory import DeltaNet, RecurrentDelta


class Reading(nn.Module):
    """Stub of the output: y is the reading."""

    def forward(self, reading, x):
        return reading.flatten(-2)


def plain(K, V):
    """Return a memory of one head; x is q, k, v, b before softmax and sigmoid."""
    memory = RecurrentDelta(2 * K + V + 1, num_heads=1, key_dim=K, value_dim=V).double()
    for p in memory.parameters():
        nn.init.zeros_(p)
    nn.init.eye_(memory.input.weight)
    memory.output = Reading()
    return memory


def test_what_was_read_is_heard_in_the_value_of_the_next_step():
    memory = plain(2, 1)
    memory.feedback.data[0, 4] = 3.0  # v hears 3 tanh(y)
    x = torch.zeros(1, 3, 6).double()
    x[..., 4] = 4.0
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # keys (1/2, 1/2), beta 1/2.  S = 1/2 * 4 (1/2, 1/2) = (1, 1), y = 1
    # v = 4 + 3 tanh 1: S = 1 + 1/2 (3 + 3 tanh 1) / 2 in both, y the same;  a new life: 1
    want = torch.tensor([1.0, 1 + 0.75 * (1 + torch.tensor(1.0).tanh().item()), 1.0]).double()
    torch.testing.assert_close(y.flatten(), want)
    torch.testing.assert_close(state["y"].flatten(), want[2:])


def test_it_can_store_and_read_at_different_keys():
    memory = plain(2, 1)
    x = torch.tensor([[[0.0, 50.0, 50.0, 0.0, 4.0, 50.0], [50.0, 0.0, 0.0, 50.0, 8.0, 50.0]]]).double()
    y, state = memory(x, memory.initial_state(1), torch.zeros(1, 2, dtype=torch.bool))
    # beta 1; written at the first, read at the second channel: 0; then the other way: 4
    torch.testing.assert_close(y.flatten(), torch.tensor([0.0, 4.0]).double(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(state["S"].flatten(), torch.tensor([4.0, 8.0]).double(), rtol=1e-6, atol=1e-6)


def test_without_feedback_it_is_a_delta_net(bare):
    K, V = 3, 2
    memory, delta = (
        plain(K, V),
        bare(DeltaNet(2 * K + V, num_heads=1, style="2021", key_dim=K, value_dim=V, conv_size=1)),
    )
    x, start = torch.randn(2, 9, 2 * K + V).double(), torch.rand(2, 9) < 0.2
    y, _ = memory(nn.functional.pad(x, (0, 1)), memory.initial_state(2), start)
    q, k, v = x.split([K, K, V], -1)
    same = torch.cat([(z.softmax(-1) * 0.5).log() for z in (q, k)] + [v], -1)  # elu(log p) + 1 = p, brought to sum 1
    torch.testing.assert_close(y, delta(same, delta.initial_state(2), start)[0])


def test_it_begins_with_as_much_feedback_as_published():
    torch.manual_seed(0)
    memory = RecurrentDelta(128, num_heads=4)
    assert memory.input.bias is None
    assert 0.95 < memory.feedback.std() * 32**0.5 < 1.05
