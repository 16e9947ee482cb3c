import math

import pytest
import torch
from torch import nn

from lifelong.memory import Palimpsa, check_memory

KEY = [2.0, 0.0]  # brought to length 1


@pytest.mark.parametrize("beta", ["vector", "scalar", "key"])
def test_evidence_is_divided_by_importance_and_prior(bare, beta):
    memory = bare(Palimpsa(5, num_heads=1, beta=beta, key_dim=2, value_dim=1, conv_size=1))
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
        memory = bare(Palimpsa(9, num_heads=1, beta=beta, key_dim=3, value_dim=3, conv_size=1))
        ys.append(memory(x, memory.initial_state(2), start)[0])
    torch.testing.assert_close(*ys)


def test_without_importance_it_is_its_twin_and_evidence_only_fades(bare):
    x, start = torch.randn(2, 9, 9, dtype=torch.double), torch.rand(2, 9) < 0.2
    with_importance = bare(Palimpsa(9, num_heads=1, key_dim=3, value_dim=3, conv_size=1))
    nn.init.constant_(with_importance.importance_scale, -torch.inf)  # softplus: b = 0
    twin = bare(Palimpsa(9, num_heads=1, key_dim=3, value_dim=3, conv_size=1, beta="none"))
    twin.load_state_dict(with_importance.state_dict(), strict=False)
    torch.testing.assert_close(*(m(x, m.initial_state(2), start)[0] for m in (with_importance, twin)))
    assert set(twin.initial_state(1).keys()) == {"M", "window"}

    twin = bare(Palimpsa(5, num_heads=1, beta="none", key_dim=2, value_dim=1, conv_size=1))
    x = torch.tensor([[[*KEY, *KEY, v] for v in (4.0, 8.0)]]).double()
    y, _ = twin(x, twin.initial_state(1), torch.tensor([[False, False]]))
    # gates of 0: 4 / 2 = 2;  2 / 2 + 8 / 2 = 5
    torch.testing.assert_close(y.flatten(), torch.tensor([2.0, 5.0]).double(), rtol=1e-5, atol=0)  # unit()'s eps


@pytest.mark.parametrize("options", [{"numerator": "beta"}, {"variance": True}])
def test_what_needs_an_importance_is_refused_without_one(options):
    with pytest.raises(ValueError, match="beta='none' keeps no importance"):
        Palimpsa(8, beta="none", **options)


def constant_gates(memory, importance):
    """Set decay and write gate to 1/2, and b to half of a given vector."""
    memory.importance_scale.data = torch.tensor(importance).double().mul(2).expm1().log()
    return memory


def test_an_importance_gate_per_key_channel_divides_its_channel(bare):
    memory = constant_gates(bare(Palimpsa(5, num_heads=1, beta="key", key_dim=2, value_dim=1, conv_size=1)), [2.0, 6.0])
    diagonal = [1.0, 1.0]  # of length 1: squares of 1/2
    x = torch.tensor([[[*diagonal, *diagonal, 8.0]]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False]]))
    # j = b k^2 = (1, 3) / 2, M = 4 / sqrt 2 in both channels, read at 1 / sqrt 2:  2 / 1.5 + 2 / 2.5
    torch.testing.assert_close(
        y.flatten(), torch.tensor([2 / 1.5 + 2 / 2.5]).double(), rtol=1e-5, atol=0
    )  # unit()'s eps
    torch.testing.assert_close(state["J"].flatten(), torch.tensor([0.5, 1.5]).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("beta", "importance"), [("vector", [6.0]), ("scalar", [6.0]), ("key", [6.0, 6.0])])
def test_evidence_can_be_written_as_strongly_as_importance(bare, beta, importance):
    memory = Palimpsa(5, num_heads=1, beta=beta, key_dim=2, value_dim=1, conv_size=1, numerator="beta")
    memory = constant_gates(bare(memory), importance)
    x = torch.tensor([[[*KEY, *KEY, v] for v in (4.0, 9.0)]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False]]))
    # b = 3:  3 * 4 / (3 + 1) = 3;  (6 + 27) / (1.5 + 3 + 1) = 6
    torch.testing.assert_close(y.flatten(), torch.tensor([3.0, 6.0]).double(), rtol=1e-5, atol=0)  # unit()'s eps


@pytest.mark.parametrize(("beta", "importance"), [("vector", [6.0, 2.0]), ("scalar", [6.0]), ("key", [6.0, 2.0])])
def test_the_variance_falls_where_something_was_written(bare, beta, importance):
    memory = Palimpsa(6, num_heads=1, beta=beta, key_dim=2, value_dim=2, conv_size=1, variance=True)
    memory = constant_gates(bare(memory), importance)
    memory.doubt = nn.Identity()
    other = [0.0, 3.0]  # the second key channel
    x = torch.tensor([[[*KEY, *KEY, 0.0, 0.0], [*KEY, *other, 0.0, 0.0], [*other, *KEY, 0.0, 0.0]]]).double()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # b = 3 (and 1) at the key: 1 / (3 + 1);  half of it is left: 1 / (1.5 + 1);  a new life, asked elsewhere: 1
    want = [[1 / 4, 1 / 2], [1 / 2.5, 1 / 1.5], [1, 1]] if beta == "vector" else [[1 / 4] * 2, [1 / 2.5] * 2, [1, 1]]
    torch.testing.assert_close(y[0], torch.tensor(want).double(), rtol=1e-5, atol=0)  # unit()'s eps


@pytest.mark.parametrize("beta", ["vector", "scalar", "key"])
@pytest.mark.parametrize("numerator", ["gate", "beta"])
def test_every_choice_keeps_the_contract(beta, numerator):
    check_memory(Palimpsa(8, beta=beta, numerator=numerator, variance=True), long_life=2000)


def test_the_variance_is_not_heard_at_first():
    x, start = torch.randn(2, 9, 8), torch.rand(2, 9) < 0.2
    ys = []
    for variance in (False, True):
        torch.manual_seed(0)
        memory = Palimpsa(8, variance=variance)
        ys.append(memory(x, memory.initial_state(2), start)[0])
    torch.testing.assert_close(*ys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": "row"}, "beta must be 'vector' or 'scalar' or 'key' or 'none', got 'row'"),
        ({"numerator": "v"}, "numerator must be 'gate' or 'beta', got 'v'"),
    ],
)
def test_unknown_words_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Palimpsa(8, **options)


def published(memory, q, k, v, x, eps):
    """Return the published output: the posterior mean over sqrt(K) and the value, an RMS norm, a gate, a linear map."""
    (H, V, K), (gate, decay) = memory.shape, memory.strength_and_decay(x)
    M, J = torch.zeros(H, V, K).double(), torch.zeros(H, V, K).double()
    ys = []
    for t in range(x.shape[1]):
        b = torch.zeros(H, V, 1).double()
        if memory.beta == "vector":
            b = memory.importance(x[0, t]).sigmoid() * nn.functional.softplus(memory.importance_scale)
            b = b.view(H, V, 1) * gate[0, t, :, None, None]
        alpha, key = decay[0, t].exp()[:, None, None], k[0, t, :, None]
        M = alpha * M + gate[0, t, :, None, None] * v[0, t, :, :, None] * key
        J = alpha * J + b * key**2
        o = ((M / (J + 1)) @ q[0, t, :, :, None])[..., 0] / K**0.5 + v[0, t]
        swish = nn.functional.silu(memory.output.gate(x[0, t])).view(H, V)
        ys.append(memory.output.linear((o / (o.square().mean(-1, keepdim=True) + eps).sqrt() * swish).flatten()))
    return torch.stack(ys)[None]


@pytest.mark.parametrize("beta", ["vector", "none"])
def test_at_birth_it_is_the_published_layer(beta):
    torch.manual_seed(0)
    memory = Palimpsa(32, num_heads=2, beta=beta, key_dim=9, value_dim=4).double()
    x, no = 10 * torch.randn(1, 25, 32).double(), torch.zeros(1, 25, dtype=torch.bool)
    state = memory.initial_state(1)
    y, _ = memory(x, state, no)
    q, k, v, _ = memory.project(x, state["window"], no)
    # ours is sqrt(K) times theirs under the norm, so that its eps counts a K-th of theirs
    torch.testing.assert_close(y, published(memory, q, k, v, x, 1e-5 / 9), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(y, published(memory, q, k, v, x, 1e-5), rtol=1e-3, atol=1e-3)
    memory.skip.data[:] = 1.0  # as it was: the value counted a third of what it should
    assert (memory(x, state, no)[0] - y).abs().max() > 0.1
