import math

import pytest
import torch
from torch import nn

from lifelong.memory import GLA, Hebbian


def test_each_key_channel_fades_by_itself(bare):
    memory = bare(GLA(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1, rank=1))
    # logsigmoid(c) / 16 = -log 2 and -log 4: a half is kept in the first key channel, a quarter in the second
    kept = torch.tensor([2.0**-16, 4.0**-16]).double()
    memory.fade[1].bias.data = torch.log(kept / (1 - kept))
    query, keys = [3.0, 3.0], ([1.0, 0.0], [0.0, 1.0])
    x = torch.tensor([[[*query, *keys[0], 8.0], [*query, *keys[1], 16.0], [*query, *keys[0], 4.0]]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, False]]))
    # S = (8, 0);  (4, 16);  (2 + 4, 4);  read at (1, 1) / sqrt 2
    want = torch.tensor([8.0, 20.0, 10.0]).double() / math.sqrt(2)
    torch.testing.assert_close(y.flatten(), want, rtol=1e-5, atol=0)  # unit()'s eps


def test_writes_fade_to_1_over_e_within_the_horizons():
    memory = GLA(64, horizons=(100.0, 1e5))
    nn.init.zeros_(memory.fade[1].weight)
    parts = memory.parts(torch.randn(1, 1, 64), memory.initial_state(1), torch.zeros(1, 1, dtype=torch.bool))
    for head in parts.decay[0, 0]:
        torch.testing.assert_close(-1 / head[[0, -1]], torch.tensor([100.0, 1e5]), rtol=1e-3, atol=0)


def test_a_rank_of_nothing_is_refused():
    with pytest.raises(ValueError, match="rank must be positive: rank=0"):
        GLA(8, rank=0)


def test_it_is_hebbs_rule_when_all_channels_fade_alike(bare):
    x, start = torch.randn(2, 9, 9, dtype=torch.double), torch.rand(2, 9) < 0.2
    gla, hebbian = (bare(kind(9, num_heads=1, key_dim=3, value_dim=3, conv_size=1)) for kind in (GLA, Hebbian))
    nn.init.constant_(hebbian.leak, math.log(math.expm1(math.log(2) / 16)))  # log sigmoid(0) / 16 = -log 2 / 16
    nn.init.constant_(hebbian.rate, math.log(math.expm1(1)))
    begin = hebbian.initial_state(2)
    torch.testing.assert_close(gla(x, begin, start)[0], hebbian(x, begin, start)[0], rtol=1e-6, atol=1e-6)
