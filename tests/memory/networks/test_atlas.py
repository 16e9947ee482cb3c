import pytest
import torch
from torch import nn

from lifelong.memory import Atlas, Titans, check_memory
from lifelong.memory.networks.polynomial import polynomial, polynomial_width

NEVER = -99.0


def test_a_step_is_trained_on_the_last_two_pairs(bare):
    memory = bare(Atlas(3, num_heads=1, recent=2, depth=1, key_dim=1, value_dim=1, batch=1, conv_size=1))
    # gates of 0: theta = eta = gamma = 1/2; nothing fades
    nn.init.constant_(memory.gates.bias[1:2], NEVER)
    memory.powers.data[:] = torch.tensor([3.0, 4.0])  # phi(1) = (0.6, 0.8), phi(-1) = (-0.6, 0.8), 0.28 of it
    x = torch.tensor([[[1.0, 1.0, 8.0], [1.0, 1.0, 8.0], [-1.0, 1.0, 8.0], [-1.0, 1.0, 8.0]]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, False, True]]))
    # along phi(1):  G = -1/2 * 1/2 * 8 = -2, M = -1, W = 0.5
    # twice the error 7.5:  G = -1/2 * 1/2 * 15 = -3.75, M = -0.5 - 1.875 = -2.375, W = 0.5 + 1.1875 = 1.6875
    # twice 6.3125:  G = -3.15625, M = -1.1875 - 1.578125 = -2.765625, W = 1.6875 + 1.3828125;  a new life: 0.5
    want = torch.tensor([0.5, 1.6875, 0.28 * 3.0703125, 0.28 * 0.5], dtype=torch.double)
    torch.testing.assert_close(y.flatten(), want, rtol=1e-9, atol=0)
    assert state["gamma"].item() == 0.5


def test_a_window_of_one_pair_at_plain_keys_is_titans(bare):
    torch.manual_seed(0)
    atlas = bare(Atlas(9, num_heads=1, recent=1, depth=1, key_dim=3, value_dim=3, batch=4))
    titans = bare(Titans(9, num_heads=1, depth=1, key_dim=3, value_dim=3, batch=4))
    nn.init.constant_(atlas.powers[:, 0], 1.0)
    nn.init.constant_(atlas.gates.bias[3:], 99.0)  # gamma = 1
    for memory in (atlas, titans):
        nn.init.constant_(memory.gates.bias[1:2], -3.0)
    x, start = torch.randn(2, 30, 9).double(), torch.rand(2, 30) < 0.1
    torch.testing.assert_close(*(m(x, m.initial_state(2), start)[0] for m in (atlas, titans)))


def test_features_of_unit_keys_are_of_unit_length():
    x = nn.functional.normalize(torch.randn(2, 5, 3, 4), dim=-1)
    first, second = polynomial(x, torch.tensor([1.0, 0.5]).expand(3, 2))
    assert first.shape == (5, 3, polynomial_width(4))
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(5, 3))
    inner = (x[0] * x[1]).sum(-1)  # with a = (1, 1/2): (s + s^2 / 4) / (1 + 1/4)
    torch.testing.assert_close((first * second).sum(-1), (inner + inner**2 / 4) / 1.25)


@pytest.mark.parametrize("recent", [1, 4])
def test_it_keeps_its_promises_with_muon(recent):
    torch.manual_seed(0)
    check_memory(Atlas(8, recent=recent, muon=True, hidden=4), long_life=2000)


def test_muon_moves_by_the_rate_whatever_the_error(bare):
    ys = []
    for v in (5.0, 5000.0):
        memory = bare(Atlas(3, num_heads=1, depth=1, key_dim=1, value_dim=1, batch=1, conv_size=1, muon=True))
        nn.init.constant_(memory.powers[:, 0], 1.0)
        y, _ = memory(torch.tensor([[[1.0, 1.0, v]]]).double(), memory.initial_state(1), torch.tensor([[False]]))
        ys.append(y.item())
    assert 0.5 * 0.6 < ys[0] < 0.5 * 1.3
    assert abs(ys[1] - ys[0]) < 1e-4


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match="recent must be positive: recent=0"):
        Atlas(8, recent=0)
