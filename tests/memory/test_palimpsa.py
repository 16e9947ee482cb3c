import math

import pytest
import torch
from torch import nn

from lifelong.memory import Palimpsa

KEY = [2.0, 0.0]  # brought to length 1


@pytest.mark.parametrize("beta", ["vector", "scalar"])
def test_evidence_is_divided_by_importance_and_prior(bare, beta):
    memory = bare(Palimpsa(5, heads=1, beta=beta, key_width=2, value_width=1, taps=1))
    # gates of 0: half is kept, half is written;  importance 1/2 * 1/2 * 4 = 1;  and the value itself is added
    nn.init.constant_(memory.importance_scale, math.log(math.expm1(4.0)))
    nn.init.ones_(memory.skip)
    x = torch.tensor([[[*KEY, *KEY, v] for v in (4.0, 4.0, 8.0)]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # M / (J + 1): 2 / (1 + 1) = 1;  (1 + 2) / (0.5 + 1 + 1) = 1.2;  a new life: 4 / (1 + 1) = 2
    torch.testing.assert_close(y.flatten(), torch.tensor([5.0, 5.2, 10.0]).double(), rtol=1e-5, atol=0)  # unit()'s eps
    torch.testing.assert_close(state["J"].flatten()[0].item(), 1.0, rtol=1e-5, atol=0)


def test_vector_and_scalar_agree_when_all_channels_share_one_importance(bare):
    x, start = torch.randn(2, 9, 9, dtype=torch.double), torch.rand(2, 9) < 0.2
    ys = []
    for beta in ("vector", "scalar"):
        memory = bare(Palimpsa(9, heads=1, beta=beta, key_width=3, value_width=3, taps=1))
        ys.append(memory(x, memory.initial_state(2), start)[0])
    torch.testing.assert_close(*ys)
