"""Mamba-3 against the recursion of arXiv:2603.15569: turned keys and queries, three terms."""

import math

import torch

from lifelong.memory import Mamba3


def softplus(z):
    return torch.log1p(torch.exp(z))


def turned(z, angles):
    """Return z with its leading pairs turned."""
    z = z.clone()
    for i, angle in enumerate(angles):
        a, b = z[2 * i].clone(), z[2 * i + 1].clone()
        z[2 * i] = torch.cos(angle) * a - torch.sin(angle) * b
        z[2 * i + 1] = torch.sin(angle) * a + torch.cos(angle) * b
    return z


def test_mamba3(agrees):
    torch.manual_seed(0)
    K, V = 8, 3
    memory = Mamba3(6, num_heads=1, key_dim=K, value_dim=V, horizons=(5, 5))

    def norm(z, weight):
        return z / torch.sqrt((z * z).mean() + 1e-5) * weight

    def step(x, carried):
        S, phase, k_before, v_before = carried
        q, k, v = (memory.project.weight @ x).split([K, K, V])
        q = norm(q, memory.norm_q.weight) + memory.bias_q[0]
        k = norm(k, memory.norm_k.weight) + memory.bias_k[0]
        dt, A, trap = memory.gates.weight @ x + memory.gates.bias
        dt, A, share = softplus(dt), -softplus(A), torch.sigmoid(trap)
        phase = phase - dt * math.pi * torch.tanh(memory.turn.weight @ x)  # the sign is that of theta
        q, k = turned(q, phase), turned(k, phase)
        alpha = torch.exp(dt * A)
        S = alpha * S + alpha * (1 - share) * dt * torch.outer(v_before, k_before) + share * dt * torch.outer(v, k)
        y = S @ q + memory.skip * v
        gate = memory.output.gate.weight @ x
        y = norm(y, memory.output.norm.weight) * gate / (1 + torch.exp(-gate))
        return memory.output.linear.weight @ y, (S, phase, k, v)

    def begin():
        return tuple(torch.zeros(*shape).double() for shape in ((V, K), (2,), (K,), (V,)))

    agrees(memory, begin, step)
