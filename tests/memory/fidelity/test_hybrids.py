"""Hybrids, by the recursions of what they are made of; log-linear attention as a sum over all writes of a life."""

import pytest
import torch

from lifelong.memory import Hybrid, LogLinear, MemoryAsContext, MinGRU, Series, make_memory

K, V = 4, 3
SIZES = {"num_heads": 2, "key_dim": K, "value_dim": V}


def level(t, s):
    """Return the level of step s at step t: 0 for t itself, then blocks of 2^(i - 1) by the bits of t."""
    if s == t:
        return 0
    end = t
    for i in range(t.bit_length()):
        if t >> i & 1:
            if s >= end - 2**i:
                return i + 1
            end -= 2**i
    raise AssertionError


@pytest.mark.parametrize("rule", ["delta", "additive"])
@pytest.mark.parametrize("levels", [3, 9])
def test_log_linear(matrix_agrees, plain, rule, levels):
    torch.manual_seed(0)
    memory = LogLinear(6, **SIZES, levels=levels, rule=rule, horizons=(3, 30))

    def update(h, x, q, k, v, writes):
        beta, fade = (memory.gates.weight @ x + memory.gates.bias).view(2, 2)[:, h]
        beta, alpha = plain.sigmoid(beta), torch.exp(-plain.softplus(fade))
        scales = plain.softplus(memory.scales.weight @ x + memory.scales.bias).view(2, levels)[h]
        kept = alpha * (torch.eye(K).double() - beta * torch.outer(k, k) * (rule == "delta"))
        writes = [*(write @ kept for write in writes), beta * torch.outer(v, k)]
        t = len(writes) - 1
        return sum(scales[min(level(t, s), levels - 1)] * (write @ q) for s, write in enumerate(writes)), writes

    matrix_agrees(memory, update, lambda h: [])


class MinGRULoop:
    """A minGRU as a loop."""

    def __init__(self, memory, plain):
        self.memory, self.plain = memory, plain

    def begin(self):
        return torch.zeros(self.memory.width).double()

    def step(self, x, h):
        z = self.plain.sigmoid(self.memory.gates.weight @ x + self.memory.gates.bias)
        h = (1 - z) * h + z * (self.memory.candidate.weight @ x + self.memory.candidate.bias)
        return h, h


@pytest.mark.parametrize("mix", ["gate", "sum"])
def test_hybrid(agrees, plain, mix):
    torch.manual_seed(0)
    memory = Hybrid(5, MinGRU(5, horizons=(2, 20)), MinGRU(5, horizons=(2, 20)), mix=mix)
    a, b = MinGRULoop(memory.a, plain), MinGRULoop(memory.b, plain)

    def step(x, carried):
        (y_a, h_a), (y_b, h_b) = a.step(x, carried[0]), b.step(x, carried[1])
        if mix == "sum":
            return y_a + y_b, (h_a, h_b)
        gate = plain.sigmoid(memory.gate.weight @ x + memory.gate.bias)
        return gate * y_a + (1 - gate) * y_b, (h_a, h_b)

    agrees(memory, lambda: (a.begin(), b.begin()), step)


def test_series(agrees, plain):
    torch.manual_seed(0)
    memory = Series(5, MinGRU(5, horizons=(2, 20)), MinGRU(5, horizons=(2, 20)))
    a, b = MinGRULoop(memory.a, plain), MinGRULoop(memory.b, plain)

    def step(x, carried):
        y, h_a = a.step(x, carried[0])
        y, h_b = b.step(plain.rms(x + y, memory.norm.weight), carried[1])
        return y, (h_a, h_b)

    agrees(memory, lambda: (a.begin(), b.begin()), step)


def test_memory_as_context(agrees, plain):
    torch.manual_seed(0)
    D, H, W, P = 6, 1, 4, 2
    memory = MemoryAsContext(D, MinGRU(D, horizons=(2, 20)), tokens=P, num_heads=H, cache=W)
    inner, window = MinGRULoop(memory.inner, plain), memory.attention

    def step(x, carried):
        before, pairs, h = carried
        reading, h = inner.step(x, h)
        z = window.project.linear.weight @ x
        mixed = plain.silu(window.project.conv[:, 0] * before + window.project.conv[:, 1] * z)
        q, k, v = mixed.split(D)
        pairs = [*pairs, (plain.unit(k), v)][-W:]
        k, v = (memory.recall.weight @ reading).split(D)
        entries = [(*pair, window.bias[0, age]) for age, pair in enumerate(reversed(pairs))]
        entries.append((plain.unit(k), v, memory.bias[0, 0]))
        tokens = zip(plain.unit(memory.token_keys[:, 0]), memory.token_values[:, 0], memory.bias[0, 1:], strict=True)
        entries.extend(tokens)
        weights = [torch.exp(window.sharpness[0] * (plain.unit(q) @ key) + bias) for key, _, bias in entries]
        y = sum(w / sum(weights) * value for w, (_, value, _) in zip(weights, entries, strict=True))
        y = plain.rms(y, window.output.norm.weight) * plain.silu(window.output.gate.weight @ x)
        return window.output.linear.weight @ y, (z, pairs, h)

    agrees(memory, lambda: (torch.zeros(3 * D).double(), [], inner.begin()), step)


@pytest.mark.parametrize("name", ["titans_mag", "titans_mal", "titans_mac"])
def test_the_three_forms_of_titans(agrees, plain, name):
    """Titans and the window by their own steps, compared elsewhere; what they are joined by written out."""
    torch.manual_seed(0)
    memory = make_memory(name, 6)
    never = torch.zeros(1, dtype=torch.bool)
    if name == "titans_mac":
        assert (type(memory), type(memory.inner).__name__) == (MemoryAsContext, "Titans")  # compared above
        return
    assert [type(part).__name__ for part in (memory.a, memory.b)] == ["Titans", "Window"]

    def step(x, carried):
        y_a, a = memory.a.step(x[None], carried[0], never)
        given = x if name == "titans_mag" else plain.rms(x + y_a[0], memory.norm.weight)
        y_b, b = memory.b.step(given[None], carried[1], never)
        if name == "titans_mal":
            return y_b[0], (a, b)
        gate = plain.sigmoid(memory.gate.weight @ x + memory.gate.bias)
        return gate * y_a[0] + (1 - gate) * y_b[0], (a, b)

    agrees(memory, lambda: (memory.a.initial_state(1), memory.b.initial_state(1)), step)
