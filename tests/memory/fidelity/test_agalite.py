"""AGaLiTe against the recursion of arXiv:2310.15719, vector by vector."""

import math

import torch

from lifelong.memory import AGaLiTe


def test_agalite(agrees):
    torch.manual_seed(0)
    H, N, E, R = 2, 3, 2, 4
    memory = AGaLiTe(H * N, num_heads=H, features=E, vectors=R)

    def flat(a, b):
        return torch.stack([e * n for e in a for n in b])

    def step(x, carried):
        heads, n = carried
        n = n + 1
        z, maps = (memory.project.weight @ x + memory.project.bias).split([5 * H * N, 3 * H * E])
        readings, after = [], []
        for h in range(H):
            k, q, v, beta, gamma = (part[h * N : (h + 1) * N] for part in z.split(H * N))
            p1, p2, p3 = (part[h * E : (h + 1) * E] for part in maps.split(H * E))
            k, q = flat(p1.clamp(min=0), k.clamp(min=0)), flat(p2.clamp(min=0), q.clamp(min=0))
            gamma, beta = flat(torch.sigmoid(p3), torch.sigmoid(gamma)), torch.sigmoid(beta)
            a, b, s = heads[h]
            waves = [math.cos((-math.pi + 2 * math.pi * i / (R - 1)) * n) for i in range(R)]
            a = [(1 - gamma) * a[i] + gamma * k * waves[i] for i in range(R)]
            b = [(1 - beta) * b[i] + beta * v * waves[i] for i in range(R)]
            s = (1 - gamma) * s + gamma * k
            readings.append(sum(b[i] * (a[i] @ q) for i in range(R)) / (2 * R * (s @ q) + 1e-5))
            after.append((a, b, s))
        return memory.output.weight @ torch.cat(readings) + memory.output.bias, (after, n)

    def begin():
        zeros = [torch.zeros(E * N).double()] * R, [torch.zeros(N).double()] * R, torch.zeros(E * N).double()
        return [zeros] * H, 0

    agrees(memory, begin, step)
