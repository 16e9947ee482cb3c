import math

import torch
from torch.nn.functional import softplus

from lifelong.memory import KDA, GatedDelta

BOTH = [1.0, 1.0]


def test_each_key_channel_fades_at_its_own_pace(bare):
    memory = bare(KDA(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1))  # beta = 1/2
    memory.fade[1].bias.data[:] = torch.tensor([math.log(3), -50.0]).double()  # kept: 1/4, and all
    x = torch.tensor([[[*BOTH, *BOTH, v] for v in (4.0, 4.0, 6.0)]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # the key is (1, 1) / r, r = sqrt 2.  S r = (2, 2), y = 2;  faded (0.5, 2), said 1.25, half of the error 1.375:
    # S r = (1.875, 3.375), y = 2.625;  a new life: 3
    torch.testing.assert_close(y.flatten(), torch.tensor([2.0, 2.625, 3.0]).double(), rtol=1e-5, atol=0)  # unit()'s eps


def test_with_one_pace_for_all_channels_it_is_the_gated_delta_rule(bare):
    x, start = torch.randn(2, 9, 9).double(), torch.rand(2, 9) < 0.2
    ys = []
    for make in (KDA, GatedDelta):
        memory = bare(make(9, num_heads=1, key_dim=3, value_dim=3, conv_size=1))
        ys.append(memory(x, memory.initial_state(2), start)[0])
    torch.testing.assert_close(*ys)


def test_channels_begin_at_the_horizons():
    memory = KDA(8, num_heads=2, key_dim=2, horizons=(10.0, 1000.0))
    kept = torch.exp(-softplus(memory.fade[1].bias.detach()))
    want = torch.full((4,), 1 / math.e)
    torch.testing.assert_close(kept ** torch.tensor([10.0, 1000.0, 10.0, 1000.0]), want, rtol=1e-3, atol=0)
