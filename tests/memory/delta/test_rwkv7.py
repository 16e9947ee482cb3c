import math

import pytest
import torch
from torch import nn

from lifelong.memory import RWKV7
from lifelong.memory.delta.rwkv7 import FASTEST


@pytest.fixture
def plain():
    """Return one head of two channels: r = k = v = x, a = 1/2, w = exp(-FASTEST / 2), no norm, gate 1."""
    memory = RWKV7(2, rank=1)
    for p in memory.parameters():
        nn.init.zeros_(p)
    for linear in (memory.r, memory.k, memory.v, memory.output):
        nn.init.eye_(linear.weight)
    nn.init.ones_(memory.removed)
    nn.init.constant_(memory.up.data[2], 2.0)  # times sigmoid(0)
    memory.norm = nn.Identity()
    return memory.double()


def test_what_stood_at_the_key_fades_and_is_half_removed(plain):
    x = torch.tensor([[[2.0, 0.0], [4.0, 0.0], [2.0, 0.0]]]).double()
    y, state = plain(x, plain.initial_state(1), torch.tensor([[False, False, True]]))
    # S11 = 2 * 2 = 4, y = 4 * 2 = 8;  4 w - 4 / 2 + 4 * 4 = 14 + 4 w, y = 4 (14 + 4 w);  a new life: 8
    w = math.exp(-FASTEST / 2)
    want = torch.tensor([8.0, 4 * (14 + 4 * w), 8.0]).double()
    torch.testing.assert_close(y[0, :, 0], want, rtol=1e-5, atol=0)  # TINY
    torch.testing.assert_close(state["shifted"], x[:, -1])


def test_the_bonus_and_the_share_of_the_rate_in_what_is_written(plain):
    nn.init.constant_(plain.bonus, 0.5)
    nn.init.ones_(plain.spared)
    x = torch.tensor([[[2.0, 0.0]]]).double()
    y, _ = plain(x, plain.initial_state(1), torch.tensor([[False]]))
    # k = 2 (1 + (1/2 - 1)) = 1: S = 2, read at 2: 4;  bonus 1/2 * 2 * 1 times v = 2: 2
    torch.testing.assert_close(y[0, 0, 0].item(), 6.0)


def test_the_input_before_is_mixed_in_but_not_across_a_start(plain):
    nn.init.ones_(plain.mix)  # only the input before
    x = torch.tensor([[[2.0, 0.0], [5.0, 0.0], [3.0, 0.0]]]).double()
    y, _ = plain(x, plain.initial_state(1), torch.tensor([[False, False, True]]))
    torch.testing.assert_close(y[0, :, 0], torch.tensor([0.0, 8.0, 0.0]).double())


def test_the_step_is_the_recursion_as_written():
    memory = RWKV7(8, num_heads=2).double()
    state, x = memory.initial_state(1), torch.randn(1, 2, 8).double()
    no = torch.zeros(1, 2, dtype=torch.bool)
    seen = []
    memory.norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    _, after = memory(x[:, :1], state, no[:, :1])
    memory(x[:, 1:], after, no[:, 1:])
    mixed = x[0, 1] + memory.mix * (x[0, 0] - x[0, 1])
    r, k, v = memory.r(mixed[0]), memory.k(mixed[1]), memory.v(mixed[2])
    w = torch.exp(-FASTEST * torch.sigmoid(memory.fade + (mixed[3] @ memory.down[0]).tanh() @ memory.up[0]))
    a = torch.sigmoid(memory.rate + mixed[4] @ memory.down[1] @ memory.up[1])
    for head, cut in enumerate((slice(0, 4), slice(4, 8))):
        z = nn.functional.normalize((k * memory.removed)[cut], dim=0)
        S, written = after["S"][0, head], (k * (1 + (a - 1) * memory.spared))[cut]
        S = S * w[cut] - torch.outer(S @ z, a[cut] * z) + torch.outer(v[cut], written)
        torch.testing.assert_close(seen[1][0, cut], S @ r[cut], rtol=1e-4, atol=1e-5)  # TINY


def test_channels_begin_at_the_horizons_and_never_fade_faster_than_the_bound():
    memory = RWKV7(8, num_heads=4, horizons=(10.0, 1000.0))
    kept = torch.exp(-FASTEST * memory.fade.detach().sigmoid())
    want = torch.full((8,), 1 / math.e)
    torch.testing.assert_close(kept ** torch.tensor([10.0, 1000.0] * 4), want, rtol=1e-3, atol=0)
    assert math.exp(-FASTEST) > 0.545
    with pytest.raises(ValueError, match=r"horizons must be rising and at least 2: horizons=\(1.0, 5.0\)"):
        RWKV7(8, horizons=(1.0, 5.0))


def test_a_huge_reading_is_normed_like_a_large_one():
    memory = RWKV7(8)
    x, ys = torch.randn(1, 8), []
    for size in (1e12, 1e22):  # in float32 the square of the second is infinite
        state = memory.initial_state(1)
        state["S"][:] = size * torch.arange(64.0).sin().view(8, 8)
        ys.append(memory.step(x, state, torch.tensor([False]))[0])
    assert ys[0].isfinite().all()
    torch.testing.assert_close(*ys, rtol=1e-4, atol=1e-4)
