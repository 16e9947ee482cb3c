import functools
import math

import pytest
import torch
from torch import nn

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.posterior import posterior
from lifelong.memory import (
    Additive,
    Hebbian,
    LinearAttention,
    Mamba2,
    Palimpsa,
    Parts,
    check_memory,
    make_memory,
    metaplastic,
)

HOSTS = ["linear_attention", "based", "hebbian", "retnet", "gla", "mamba2", "mlstm"]


class Own(Additive):
    """A user's memory: keys and values are the input."""

    def __init__(self, width):
        super().__init__(width, num_heads=1, key_dim=width, value_dim=width)
        self.scale = nn.Parameter(torch.ones(1))

    def parts(self, x, state, start):
        z = x[:, :, None].tanh()
        return Parts(z, z, self.scale * z, lambda y: y[:, :, 0])


class SimpleGLA(Additive):
    """Palimpsa without importance: gated linear attention."""

    def __init__(self, palimpsa):
        num_heads, V, K = palimpsa.shape
        super().__init__(palimpsa.width, num_heads, K, V)
        self.project, self.gates, self.output = palimpsa.project, palimpsa.gates, palimpsa.output
        self.skip = palimpsa.skip

    def initial_rest(self, batch):
        return {"window": self.zeros(batch, self.project.conv_size - 1, self.project.channels)}

    def parts(self, x, state, start):
        q, k, v, window = self.project(x, state["window"], start)
        gate, fade = self.gates(x).chunk(2, -1)
        decay = -nn.functional.softplus(fade)
        return Parts(
            q, k, v, lambda y: self.output(y + self.skip[:, None] * v, x), gate.sigmoid(), decay, {"window": window}
        )


def unimportant(memory):
    """Wrap a memory with b = 0."""
    nn.init.constant_(memory.importance_scale, -1e4)
    return memory


@pytest.fixture
def loops(monkeypatch):
    """Run both recurrences as reference loops."""
    monkeypatch.setattr(
        "lifelong.memory.additive.base.fast_weight", functools.partial(fast_weight, backend="reference")
    )
    monkeypatch.setattr("lifelong.memory.metaplasticity.posterior", functools.partial(posterior, backend="reference"))


def lived(memory, starts=0.2):
    x, start = torch.randn(3, 11, memory.width), torch.rand(3, 11) < starts
    return memory(x.to(memory.zeros()), memory.initial_state(3), start)


def test_the_gate_stands_in_evidence_and_importance_once(bare):
    memory = metaplastic(bare(Hebbian(5, num_heads=1, key_dim=2, value_dim=1, conv_size=1)))
    nn.init.constant_(memory.host.rate, math.log(math.expm1(3.0)))  # gate 3; softplus(0) = log 2 leaves half
    nn.init.zeros_(memory.importance[1].weight)
    nn.init.constant_(memory.importance_scale, math.log(math.expm1(4.0)))  # b = 4 / 2 = 2
    x = torch.tensor([[[2.0, 0.0, 5.0, 0.0, v] for v in (7.0, 14.0, 7.0)]]).double()
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # 3 * 7 / (1 + 3 * 2) = 3;  (21 / 2 + 3 * 14) / (1 + 6 / 2 + 6) = 52.5 / 10;  a new life: 3
    torch.testing.assert_close(y.flatten(), torch.tensor([3.0, 5.25, 3.0]).double(), rtol=1e-5, atol=0)  # unit()'s eps
    torch.testing.assert_close(state["J"].flatten(), torch.tensor([6.0, 0.0]).double(), rtol=1e-5, atol=0)


def test_a_normaliser_goes_on_counting(bare):
    memory = metaplastic(bare(LinearAttention(3, num_heads=1, key_dim=1, value_dim=1, conv_size=1))).double()
    nn.init.zeros_(memory.importance[1].weight)
    nn.init.constant_(memory.importance_scale, math.log(math.expm1(2.0)))  # b = 1
    x = torch.tensor([[[0.0, 1.0, 6.0], [0.0, 1.0, 15.0]]]).double()  # phi adds 1: queries 1, keys 2
    y, state = memory(x, memory.initial_state(1).double(), torch.tensor([[False, False]]))
    # M = 12, J = 4, n = 2: 12 / 5 / 2 = 1.2;  M = 12 + 30, J = 8, n = 4: 42 / 9 / 4 = 7 / 6
    torch.testing.assert_close(y.flatten(), torch.tensor([1.2, 7 / 6]).double(), rtol=1e-5, atol=0)  # eps
    assert state["J"].flatten().tolist() == pytest.approx([8.0, 0.0])


def test_simple_gated_linear_attention_becomes_palimpsa():
    torch.manual_seed(0)
    palimpsa = Palimpsa(64)
    memory = metaplastic(SimpleGLA(palimpsa))
    memory.importance, memory.importance_scale = palimpsa.importance, palimpsa.importance_scale
    x, start = torch.randn(3, 30, 64), torch.rand(3, 30) < 0.1
    got, want = memory(x, memory.initial_state(3), start), palimpsa(x, palimpsa.initial_state(3), start)
    torch.testing.assert_close(got[0], want[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close([got[1]["S"], got[1]["J"]], [want[1]["M"], want[1]["J"]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("host", [*HOSTS, "own"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_importance_it_is_the_host_to_the_last_bit(host, dtype, loops):
    torch.manual_seed(0)
    plain = (Own(8) if host == "own" else make_memory(host, 8)).to(dtype)
    memory = unimportant(metaplastic(plain))
    x, start = torch.randn(3, 11, 8, dtype=dtype), torch.rand(3, 11) < 0.2
    want, got = plain(x, plain.initial_state(3), start), memory(x, memory.initial_state(3), start)
    assert want[0].equal(got[0])
    for name, leaf in want[1].items():
        assert leaf.equal(got[1][name]), name
    assert not got[1]["J"].any()


@pytest.mark.parametrize("host", HOSTS)
def test_without_importance_the_compiled_forms_agree_with_the_host(host):
    torch.manual_seed(0)
    plain = make_memory(host, 8)
    memory = unimportant(metaplastic(plain))
    x, start = torch.randn(3, 90, 8), torch.rand(3, 90) < 0.1
    want, got = plain(x, plain.initial_state(3), start), memory(x, memory.initial_state(3), start)
    torch.testing.assert_close(got[0], want[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("host", [*HOSTS, "own"])
def test_every_host_keeps_the_contract(host):
    check_memory(metaplastic(Own(4) if host == "own" else make_memory(host, 8), importance=0.5), long_life=2000)


def test_a_trained_host_is_loaded_into_the_wrapped_one():
    trained, new = make_memory("mamba2", 8), metaplastic(make_memory("mamba2", 8))
    new.host.load_state_dict(trained.state_dict())
    old = lived(trained)[1]
    state = new.initial_state(3).update(old)
    x, never = torch.randn(3, 4, 8), torch.zeros(3, 4, dtype=torch.bool)
    torch.testing.assert_close(unimportant(new)(x, state, never)[0], trained(x, old, never)[0], rtol=1e-5, atol=1e-5)


def test_its_parameters_are_of_the_hosts_type():
    assert {p.dtype for p in metaplastic(make_memory("mamba2", 8).double()).parameters()} == {torch.float64}


@pytest.mark.parametrize("name", ["gated_delta", "palimpsa", "gru", "meta_mamba2"])
def test_a_memory_whose_write_reads_is_refused(name):
    with pytest.raises(TypeError, match=r"host must be an Additive memory.*, got \w+; .* kalman_delta"):
        metaplastic(make_memory(name, 8))


@pytest.mark.parametrize("importance", [0.0, -1.0, math.nan])
def test_no_importance_at_all_is_refused(importance):
    with pytest.raises(ValueError, match="importance must be positive: importance="):
        metaplastic(Mamba2(8), importance)


def test_any_additive_memory_is_reached_by_its_name():
    memory = make_memory("metaplastic:linear-attention", 8, feature_map="relu", importance=0.25)
    assert isinstance(memory.host, LinearAttention)
    torch.manual_seed(0)
    b = memory.importance(torch.zeros(8)).sigmoid() * nn.functional.softplus(memory.importance_scale)
    torch.testing.assert_close(b, torch.full_like(b, 0.25))
    with pytest.raises(TypeError, match=r"memory 'metaplastic:gru' cannot be made with .*: host must be an Additive"):
        make_memory("metaplastic:gru", 8)
    with pytest.raises(KeyError, match="no memory 'retnt'; did you mean 'retnet'"):
        make_memory("metaplastic:retnt", 8)


def test_the_cost_is_the_hosts_and_the_importances():
    host = make_memory("mlstm", 64)
    num_heads, rows, K = host.shape
    memory = metaplastic(host)
    assert memory.step_flops == host.step_flops + 2 * 4 * (64 + 64) + 5 * num_heads * rows * K
    assert memory.state_bytes == host.state_bytes + 4 * num_heads * rows * K


# A memory in use.


class Recaller(nn.Module):
    """Classifier of a recall task: four key-value pairs, then two of the keys as queries."""

    def __init__(self, memory):
        super().__init__()
        self.encode, self.memory, self.decode = nn.Linear(12, 16), memory, nn.Linear(16, 4)

    def loss(self, seed, lives=64):
        random = torch.Generator().manual_seed(seed)
        keys = torch.rand(lives, 8, generator=random).argsort(1)[:, :4]
        values = torch.randint(4, (lives, 4), generator=random)
        shown = torch.cat([nn.functional.one_hot(keys, 8), nn.functional.one_hot(values, 4)], -1)
        asked = torch.cat([shown[:, :2, :8], torch.zeros(lives, 2, 4, dtype=torch.int64)], -1)
        x = self.encode(torch.cat([shown, asked], 1).float())
        y, _ = self.memory(x, self.memory.initial_state(lives), torch.zeros(lives, 6, dtype=torch.bool))
        return nn.functional.cross_entropy(self.decode(y)[:, 4:].flatten(0, 1), values[:, :2].flatten())

    def train_on(self, seeds, rate):
        optimiser = torch.optim.Adam(self.parameters(), rate)
        for seed in seeds:
            optimiser.zero_grad()
            self.loss(seed).backward()
            optimiser.step()


@pytest.mark.every_memory
@pytest.mark.parametrize("host", ["mamba2", "linear_attention", "mlstm"])
def test_a_trained_host_is_trained_on_without_a_jump(host):
    torch.manual_seed(0)
    recaller = Recaller(make_memory(host, 16))

    @torch.no_grad()
    def test():
        return recaller.loss(-1, 2000).item()

    fresh = test()
    recaller.train_on(range(400), 3e-3)
    trained = test()
    assert trained < 0.75 * fresh
    recaller.memory = metaplastic(recaller.memory)
    assert test() == pytest.approx(trained, rel=0.01)
    worst = 0.0
    for first in range(400, 600, 20):
        recaller.train_on(range(first, first + 20), 1e-3)
        worst = max(worst, test())
    assert worst < 1.05 * trained
    assert test() < trained
