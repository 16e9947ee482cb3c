"""Additive memories against the sums and recursions of their papers, with the pairs of a life in a list where they are
sums."""

import math

import pytest
import torch

from lifelong.memory import GLA, MLSTM, Hebbian, Mamba2, RetNet, make_memory

SIZES = {"num_heads": 2, "key_dim": 4, "value_dim": 3}


def elu(z):
    return torch.where(z > 0, z, torch.exp(z) - 1)


def dpfp(z, nu):
    r = torch.cat([z.clamp(min=0), (-z).clamp(min=0)])
    products = [r[i] * r[(i + n) % len(r)] for n in range(1, nu + 1) for i in range(len(r))]
    return torch.stack(products) / (sum(products) + 1e-6)


def layer_norm(z):
    return (z - z.mean()) / torch.sqrt(((z - z.mean()) ** 2).mean() + 1e-5)


def likeness(name, memory, h):
    """Return the kernel of queries and keys that a feature map stands for."""
    maps = memory.of_queries, memory.of_keys

    def kernel(q, k):
        if name == "linear_attention":
            return (elu(q) + 1) @ (elu(k) + 1)
        if name == "based":
            a = q @ k / math.sqrt(len(q))
            return 1 + a + a**2 / 2
        if name == "dpfp":
            return dpfp(q, 1) @ dpfp(k, 1)
        if name == "rebased":
            q, k = (f.gamma[h] * layer_norm(z) + f.beta[h] for f, z in zip(maps, (q, k), strict=True))
            return (q @ k) ** 2 / len(q)
        q, k = (torch.cat([f.weight[h] @ z, -f.weight[h] @ z]) for f, z in zip(maps, (q, k), strict=True))
        return torch.softmax(q, 0) @ torch.softmax(k, 0)

    return kernel


@pytest.mark.parametrize("name", ["linear_attention", "based", "dpfp", "rebased", "hedgehog"])
def test_linear_attention(matrix_agrees, name):
    torch.manual_seed(0)
    memory = make_memory(name, 6, **SIZES)

    def update(h, x, q, k, v, pairs):
        pairs = [*pairs, (k, v)]
        weights = [likeness(name, memory, h)(q, key) for key, _ in pairs]
        return sum(w * value for w, (_, value) in zip(weights, pairs, strict=True)) / (sum(weights) + 1e-6), pairs

    matrix_agrees(memory, update, lambda h: [], unit_keys=False)


def test_hebbian(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = Hebbian(6, **SIZES, horizons=(3, 30))

    def update(h, x, q, k, v, pairs):
        eta, leak = plain.softplus(memory.rate[h]), plain.softplus(memory.leak[h])
        pairs = [*pairs, (k, v)]
        last = len(pairs) - 1
        kept = [torch.exp(-leak * (last - s)) for s in range(len(pairs))]
        return sum(eta * kept[s] * (key @ q) * value for s, (key, value) in enumerate(pairs)), pairs

    matrix_agrees(memory, update, lambda h: [])


def test_retnet(matrix_agrees):
    torch.manual_seed(0)
    memory = RetNet(6, **SIZES, horizons=(3, 30), base=100.0)
    memory.double()
    memory.decay, memory.speed = (z.detach().double() for z in (memory.decay, memory.speed))  # made in float32

    def update(h, x, q, k, v, pairs):
        pairs = [*pairs, (torch.complex(k[0::2], k[1::2]), v)]
        query, gamma, last = torch.complex(q[0::2], q[1::2]), torch.exp(memory.decay[h]), len(pairs) - 1
        turned = [torch.exp(1j * (last - s) * memory.speed) for s in range(len(pairs))]  # (q e^int)(k e^ims)*
        scores = [(query * turned[s] * key.conj()).real.sum() * gamma ** (last - s) for s, (key, _) in enumerate(pairs)]
        return sum(score * value for score, (_, value) in zip(scores, pairs, strict=True)), pairs

    matrix_agrees(memory, update, lambda h: [])


def test_gla(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = GLA(6, **SIZES, horizons=(3, 30), rank=5)

    def update(h, x, q, k, v, S):
        down, up = memory.fade
        alpha = plain.sigmoid((up.weight @ (down.weight @ x) + up.bias).view(2, 4)[h]) ** (1 / 16)
        S = torch.diag(alpha) @ S + torch.outer(k, v)  # the paper's S is [K, V]
        return S.T @ q, S

    matrix_agrees(memory, update, lambda h: torch.zeros(4, 3).double())


def test_mamba2(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = Mamba2(6, **SIZES, horizons=(3, 30))
    out = memory.output

    def update(h, x, C, B, v, state):
        dt = plain.softplus(memory.step_size.weight @ x + memory.step_size.bias)[h]
        state = torch.exp(-dt * torch.exp(memory.log_rate[h])) * state + torch.outer(B, dt * v)
        return state.T @ C + memory.skip[h] * v, state

    def leave(readings, x):
        gated = readings * plain.silu(out.gate.weight @ x).view(readings.shape)
        return out.linear.weight @ plain.rms(gated, out.norm.weight).flatten()

    matrix_agrees(memory, update, lambda h: torch.zeros(4, 3).double(), unit_keys=False, leave=leave)


def test_mlstm(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = MLSTM(6, **SIZES, horizons=(3, 30))

    def update(h, x, q, k, v, state):
        C, n = state  # without a stabiliser: float64 holds exp(15)
        i, f = (memory.gates.weight @ x + memory.gates.bias).view(2, 2)[:, h]
        i, f, k = torch.exp(15 * torch.tanh(i / 15)), plain.sigmoid(f), k / math.sqrt(len(k))
        C, n = f * C + i * torch.outer(v, k), f * n + i * k
        return C @ q / torch.clamp(torch.abs(n @ q), min=1.0), (C, n)

    zeros = torch.zeros(3, 4).double(), torch.zeros(4).double()
    matrix_agrees(memory, update, lambda h: zeros, unit_keys=False)
