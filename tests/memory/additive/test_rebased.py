"""ReBased against its definition, written out as plain loops over steps, heads and channels."""

import math

import pytest
import torch

from lifelong.memory import make_memory


def affine(x, gamma, beta):
    """Return gamma times the layer-normed numbers, plus beta."""
    mean = sum(x) / len(x)
    deviation = math.sqrt(sum((z - mean) ** 2 for z in x) / len(x) + 1e-5)
    return [g * (z - mean) / deviation + b for g, z, b in zip(gamma, x, beta, strict=True)]


def readings(q, k, v, maps, start):
    """Return the mean of the values [T][V] of one head and life, each weighted by (q' . k')^2 / K."""
    (gamma_q, beta_q), (gamma_k, beta_k) = maps
    out, first = [], 0
    for t in range(len(q)):
        first = t if start[t] else first
        query, weights = affine(q[t], gamma_q, beta_q), []
        for s in range(first, t + 1):
            key = affine(k[s], gamma_k, beta_k)
            weights.append(sum(a * b for a, b in zip(query, key, strict=True)) ** 2 / len(key))
        total = sum(weights) + 1e-6
        out.append([sum(w * v[first + n][i] for n, w in enumerate(weights)) / total for i in range(len(v[0]))])
    return out


@pytest.mark.parametrize("key_dim", [1, 4])
def test_it_is_the_weighted_mean_of_its_definition(bare, key_dim):
    torch.manual_seed(0)
    B, T, H, K, V = 2, 19, 2, key_dim, 3
    memory = bare(make_memory("rebased", H * (2 * K + V), num_heads=H, key_dim=K, value_dim=V, conv_size=1))
    for phi in (memory.of_queries, memory.of_keys):
        phi.gamma.data, phi.beta.data = 1 + 0.3 * torch.randn(H, K).double(), 0.5 + 0.3 * torch.randn(H, K).double()
    x, start = torch.randn(B, T, H * (2 * K + V)).double(), torch.rand(B, T) < 0.15
    x[..., H * K : 2 * H * K] += 3 * x[..., : H * K]  # keys like the queries: no sum of weights is nearly zero
    y, state = memory(x, memory.initial_state(B), start)
    q, k, v, _ = memory.project(x, None, start)
    for b in range(B):
        for h in range(H):
            maps = [(m.gamma[h].tolist(), m.beta[h].tolist()) for m in (memory.of_queries, memory.of_keys)]
            want = readings(*(z[b, :, h].tolist() for z in (q, k, v)), maps, start[b].tolist())
            got = y.unflatten(-1, (H, V))[b, :, h]
            torch.testing.assert_close(got, torch.tensor(want, dtype=torch.double), rtol=1e-12, atol=1e-12)
    assert state["S"].shape == (B, H, V + 1, K * (K + 1) // 2)


def test_its_keys_are_at_most_16_wide():
    memory = make_memory("rebased", 96, num_heads=3)
    assert memory.shape == (3, 33, 136)
    assert memory.state_bytes == 4 * (3 * 33 * 136 + 3 * (16 + 16 + 32))  # S and the window
