"""HOLA against equations 3, 6 and 7 of arXiv:2607.02303, with the pairs of a life in a list."""

import math

import torch

from lifelong.memory import HOLA


def silu(z):
    return z / (1 + torch.exp(-z))


def unit(z):
    return z / torch.sqrt((z * z).sum() + 1e-6)


def rms(z, weight):
    return z / torch.sqrt((z * z).mean() + 1e-5) * weight


def test_hola(agrees):
    torch.manual_seed(0)
    H, K, V, w = 2, 4, 3, 5
    memory = HOLA(6, num_heads=H, cache=w, key_dim=K, value_dim=V, horizons=(3, 30))

    def step(x, carried):
        before, matrices, pairs = carried
        z = memory.project.linear.weight @ x
        mixed = silu(memory.project.conv[:, 0] * before + memory.project.conv[:, 1] * z)
        q, k, v = (part.view(H, -1) for part in mixed.split([H * K, H * K, H * V]))
        strength, fade = (memory.gates.weight @ x + memory.gates.bias).split(H)
        readings, after, stored = [], [], []
        for h in range(H):
            query, key, beta = unit(q[h]), unit(k[h]), torch.sigmoid(strength[h])
            S = matrices[h] / (1 + torch.exp(fade[h]))
            error = v[h] - S @ key
            S = S + beta * torch.outer(error, key)
            ever = [*pairs[h], (beta * torch.sqrt(error @ error), key, v[h])]
            best = sorted(range(len(ever)), key=lambda s: -ever[s][0])[:w]
            seen = {*best, len(ever) - 1}
            scores = {s: rms(query, memory.norm_q.weight) @ rms(ever[s][1], memory.norm_k.weight) for s in seen}
            total = torch.exp(memory.sink[h]) + sum(torch.exp(score / math.sqrt(K)) for score in scores.values())
            cache = sum(torch.exp(scores[s] / math.sqrt(K)) / total * ever[s][2] for s in seen)
            readings.append(S @ query + torch.sigmoid(memory.share[h]) * cache)
            after.append(S)
            stored.append(ever)
        y = torch.cat([rms(reading, memory.output.norm.weight) for reading in readings])
        return memory.output.linear.weight @ (y * silu(memory.output.gate.weight @ x)), (z, after, stored)

    def begin():
        zeros = torch.zeros(V, K).double()
        return torch.zeros(memory.project.channels).double(), [zeros] * H, [[]] * H

    agrees(memory, begin, step)
