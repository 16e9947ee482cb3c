import math

import pytest
import torch
from torch import nn

from lifelong.memory import Longhorn, Mamba
from lifelong.memory.additive.selective import Selective


class Reading(nn.Module):
    """Stub of the norm: returns the reading."""

    def forward(self, y, gate):
        return y


def stripped(memory):
    """Return a memory of one channel and state: u = x for a large x, and k = q = u / 10."""
    memory.norm, memory.leave = Reading(), nn.Identity()
    for p in memory.parameters():
        nn.init.zeros_(p)
    nn.init.ones_(memory.conv)
    memory.enter.weight.data[0] = 1.0
    memory.select.weight.data[1:] = 0.1
    return memory.double()


def read(memory, *values):
    x = torch.tensor(values).double()[None, :, None]
    start = torch.tensor([[False] * (len(values) - 1) + [True]])
    return memory(x, memory.initial_state(1), start)[0].flatten()


def test_mamba_writes_and_fades_by_its_step_size():
    memory = stripped(Mamba(1, channels=1, states=1, conv_size=1))
    nn.init.constant_(memory.rate.bias, math.log(math.expm1(2.0)))  # dt = 2
    nn.init.constant_(memory.log_fade, math.log(math.log(2) / 2))  # exp(-dt A) = 1/2
    nn.init.constant_(memory.skip, 0.5)
    # h = 2 * 30 * 3 = 180, read at 3, and 15;  180 / 2 + 2 * 40 * 4 = 410, at 4, and 20;  a new life: 500 at 5, and 25
    want = torch.tensor([555.0, 1660.0, 2525.0]).double()
    torch.testing.assert_close(read(memory, 30.0, 40.0, 50.0), want, rtol=1e-6, atol=0)


def test_longhorn_moves_towards_the_input_by_an_implicit_step():
    memory = stripped(Longhorn(1, channels=1, states=1, conv_size=1))
    # beta = 1/2: delta = (1/2) / (1 + 9/2) = 1/11, h = 30 * 3 / 11, read at 3;  (1/2) / (1 + 16/2) = 1/18,
    # h = (1 - 16/18) 90/11 + 40 * 4 / 18 = 10/11 + 80/9, read at 4;  a new life: (1/2) / (1 + 25/2) = 1/27, 250/27 at 5
    want = torch.tensor([270 / 11, 40 / 11 + 320 / 9, 1250 / 27]).double()
    torch.testing.assert_close(read(memory, 30.0, 40.0, 50.0), want, rtol=1e-6, atol=0)  # 0.1 in float32


def test_longhorn_solves_its_regression_where_keys_have_one_channel():
    h, beta, k, u = 0.7, 0.3, 1.9, -2.0
    x = torch.linspace(-5, 5, 100_001).double()
    best = x[((x - h) ** 2 + beta * (x * k - u) ** 2).argmin()].item()
    memory = Longhorn(1, channels=1, states=1).double()
    given = (torch.full((1, 1, 1), z).double() for z in (u, math.log(beta / (1 - beta)), k))
    written, decay = memory.transition(*given)
    assert decay.exp().item() * h + written.item() * k == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0, 1e6])
def test_longhorn_keeps_a_share_between_0_and_1_for_every_key(size):
    torch.manual_seed(0)
    memory = Longhorn(8)
    u, rate, k = torch.randn(2, 5, 16), 30 * torch.randn(2, 5, 16), size * torch.randn(2, 5, 16)
    k[..., 1:] *= torch.rand(2, 5, 1) < 0.5  # keys with one channel too
    written, decay = memory.transition(u, rate, k)
    assert decay.isfinite().all()
    assert written.isfinite().all()
    assert decay.max() <= 0


def test_mambas_states_fade_within_the_horizons():
    memory = Mamba(8, horizons=(100.0, 1e5))
    nn.init.zeros_(memory.rate.weight)
    _, decay = memory.transition(torch.zeros(1, 1, 16), memory.rate(torch.zeros(1, 1, 1)), torch.zeros(1, 1, 16))
    torch.testing.assert_close(-1 / decay[0, 0, 3, [0, -1]], torch.tensor([100.0, 1e5]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("size", ["channels", "states", "conv_size"])
@pytest.mark.parametrize("kind", [Mamba, Longhorn])
def test_sizes_of_nothing_are_refused(kind, size):
    with pytest.raises(ValueError, match=f"{size} must be positive: {size}=0"):
        kind(8, **{size: 0})


def test_rates_out_of_range_are_refused():
    with pytest.raises(ValueError, match="step_size must be positive: step_size=0"):
        Mamba(8, step_size=0)
    with pytest.raises(ValueError, match="horizons must be above 1"):
        Longhorn(8, horizons=(0.5, 10.0))


def test_a_transition_must_be_defined():
    memory = Selective(8, None, 4, 2)
    with pytest.raises(NotImplementedError, match="Selective must define transition"):
        memory(torch.zeros(1, 1, 8), memory.initial_state(1), torch.zeros(1, 1, dtype=torch.bool))
