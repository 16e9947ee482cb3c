import math

import torch

from lifelong.memory import GatedDelta, PreconditionedDelta

FIRST = [3.0, 0.0]


def test_a_correction_is_scaled_by_past_use(bare):
    memory = bare(PreconditionedDelta(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1))  # alpha = beta = 1/2
    x = torch.tensor([[[*FIRST, *FIRST, 4.0]] * 3]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # A = 1/2, then 1/4 + 1/2 = 3/4;  r = log A + 0.2 = -0.49315, -0.08768;  g = 1.5^(0.49315 / 1.49315), 1.5^(...)
    g = [1.5 ** (0.49315 / 1.49315), 1.5 ** (0.08768 / 1.08768)]  # 1.1433, 1.0332
    first = 0.5 * 4 * g[0]  # 2.2866
    second = first / 2 + 0.5 * (4 - first / 2) * g[1]  # 2.6192
    torch.testing.assert_close(y.flatten(), torch.tensor([first, second, first]).double(), rtol=2e-5, atol=0)
    torch.testing.assert_close(torch.tensor([first, second]), torch.tensor([2.2866, 2.6192]), rtol=1e-4, atol=0)
    torch.testing.assert_close(state["A"].flatten(), torch.tensor([0.5, 0.0]).double(), rtol=1e-5, atol=0)


def test_the_scale_stays_within_its_bounds(bare):
    memory = bare(PreconditionedDelta(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1))
    x, no = torch.ones(1, 3).double(), torch.tensor([False])
    for past, gate in ((1e12, 0.0), (0.0, -50.0)):  # much use, and hardly any
        memory.gates.bias.data[0] = gate
        state = memory.initial_state(1)
        state["A"][:] = past
        beta = torch.tensor(gate).double().sigmoid().item()
        scale = memory.step(x, state, no)[1]["S"].item() / beta  # S = beta v g
        r = math.log(past / 2 + beta + 1e-6) + 0.2
        assert 1 / 1.5 < scale < 1.5
        assert math.isclose(scale, 1.5 ** (-r / (1 + abs(r))), rel_tol=1e-5)  # unit()'s eps


def test_it_is_the_gated_delta_rule_where_its_scale_is_one(bare):
    memory = bare(PreconditionedDelta(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1))
    gated = bare(GatedDelta(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1))
    memory.gates.bias.data[1] = gated.gates.bias.data[1] = 50.0  # all fades: A = beta, S = beta v
    memory.gates.bias.data[0] = gated.gates.bias.data[0] = math.log(1 / (math.exp(0.2) - 1))  # A = exp(-0.2): r = 0
    x, no = torch.randn(2, 9, 3).double(), torch.zeros(2, 9, dtype=torch.bool)
    ys = [m(x, m.initial_state(2), no)[0] for m in (memory, gated)]
    torch.testing.assert_close(*ys, rtol=1e-5, atol=1e-5)  # 1e-6 inside the log, unit()'s eps
