import math

import pytest
import torch
from torch import nn

from lifelong.memory import GatedDelta, LogLinear, check_memory


def fenwick(memory, x, start):
    """Run the docstring's recursion literally, life by life."""
    num_heads, levels, V, K = memory.shape
    q, k, v, _ = memory.project(x, memory.initial_state(1)["window"], start)
    beta, fade = memory.gates(x).split(num_heads, -1)
    beta, alpha = beta.sigmoid(), torch.exp(-nn.functional.softplus(fade))
    scale = nn.functional.softplus(memory.scales(x)).unflatten(-1, (num_heads, levels))
    S, ys = [torch.zeros(num_heads, V, K).double()] * levels, []
    now = -1
    for t in range(x.shape[1]):
        now = 0 if start[0, t] else now + 1
        if now == 0:
            S = [torch.zeros_like(s) for s in S]
        else:
            j = (now & -now).bit_length() - 1
            below, up = range(min(j, levels - 1) + 1), min(j + 1, levels - 1)
            total = sum(S[i] for i in below)
            total = total if up in below else total + S[up]
            S = [torch.zeros_like(s) if i in below else s for i, s in enumerate(S)]
            S[up] = total
        key, a, b = k[0, t], alpha[0, t, :, None, None], beta[0, t, :, None, None]
        keep = torch.eye(K).double() - b * key[:, :, None] * key[:, None] if memory.rule == "delta" else torch.eye(K)
        S = [a * s @ keep.double() for s in S]
        S[0] = S[0] + b * v[0, t, :, :, None] * key[:, None]
        ys.append(sum(scale[0, t, :, i, None] * (S[i] @ q[0, t, :, :, None])[..., 0] for i in range(levels)))
    return memory.output(torch.stack(ys)[None], x), torch.stack(S, 1)[None]


@pytest.mark.parametrize("rule", ["delta", "additive"])
@pytest.mark.parametrize("levels", [1, 2, 4, 12])
def test_it_is_the_recursion_it_says(rule, levels):
    torch.manual_seed(0)
    memory = LogLinear(8, num_heads=2, levels=levels, rule=rule, horizons=(5.0, 50.0)).double()
    nn.init.normal_(memory.scales.weight)
    x, start = torch.randn(1, 150, 8, dtype=torch.double), torch.zeros(1, 150, dtype=torch.bool)
    start[0, [3, 4, 90]] = True
    y, state = memory(x, memory.initial_state(1), start)
    want, S = fenwick(memory, x, start)
    torch.testing.assert_close(y, want, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(state["S"], S, rtol=1e-9, atol=1e-9)


def test_where_a_write_goes(bare):
    memory = bare(LogLinear(3, num_heads=1, levels=3, rule="additive", key_dim=1, value_dim=1, conv_size=1))
    memory.gates.bias.data = torch.tensor([1e3, -1e3]).double()  # all is written, all is kept
    memory.scales.bias.data = torch.tensor([1.0, 10.0, 100.0]).expm1().log().nan_to_num(posinf=100.0).double()
    x = torch.tensor([[[5.0, 5.0, v] for v in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False] * 6 + [True]]))
    # levels: 1;  2, 1;  3, -, 1+2;  4, 3, 1+2;  5, -, 1+2+3+4;  6, 5, 1+2+3+4: the last level keeps all;  a new life: 7
    want = torch.tensor([1.0, 12.0, 303.0, 334.0, 1005.0, 1056.0, 7.0]).double()
    torch.testing.assert_close(y.flatten(), want, rtol=1e-4, atol=0)  # unit()'s eps
    assert state["count"].item() == 1
    _, before = memory(x[:, :6], memory.initial_state(1), torch.zeros(1, 6, dtype=torch.bool))
    torch.testing.assert_close(before["S"].flatten(), torch.tensor([6.0, 5.0, 10.0]).double(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("levels", [1, 3, 12])
def test_where_all_levels_count_alike_it_is_its_host(levels):
    torch.manual_seed(0)
    memory = LogLinear(8, num_heads=2, levels=levels, key_dim=5).double()
    nn.init.zeros_(memory.scales.weight)
    memory.scales.bias.data.fill_(math.log(math.e - 1))
    host = GatedDelta(8, num_heads=2, key_dim=5).double()
    host.load_state_dict({k: v for k, v in memory.state_dict().items() if not k.startswith("scales")})
    x, start = torch.randn(3, 99, 8, dtype=torch.double), torch.rand(3, 99) < 0.05
    got, want = memory(x, memory.initial_state(3), start), host(x, host.initial_state(3), start)
    torch.testing.assert_close(got[0], want[0])
    torch.testing.assert_close(got[1]["S"].sum(2), want[1]["S"])


@pytest.mark.parametrize("options", [{"levels": 1}, {"levels": 3, "rule": "additive", "num_heads": 2}])
def test_other_levels_and_hosts_keep_the_contract(options):
    check_memory(LogLinear(8, **options), steps=20, long_life=1000)


@pytest.mark.parametrize("levels", [0, 41])
def test_a_number_of_levels_that_cannot_be_is_refused(levels):
    with pytest.raises(ValueError, match=rf"levels must be within 1 .. 40: levels={levels}"):
        LogLinear(4, levels=levels)


def test_another_rule_is_refused():
    with pytest.raises(ValueError, match="rule must be 'delta' or 'additive', got 'sum'"):
        LogLinear(4, rule="sum")
