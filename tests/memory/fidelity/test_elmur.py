"""ELMUR against the two tracks of arXiv:2510.07151, with slots and anchors in lists."""

import math

import torch

from lifelong.memory import ELMUR


def add_norm(z, layer):
    return (z - z.mean()) / torch.sqrt(((z - z.mean()) ** 2).mean() + 1e-5) * layer.weight + layer.bias


def attention(part, x, entries, distances, H):
    K = x.shape[0] // H
    q = part.query.weight @ x + part.query.bias
    pairs = [part.pair.weight @ entry + part.pair.bias for entry in entries]
    readings = []
    for h in range(H):
        rows = slice(h * K, (h + 1) * K)
        weights = []
        for pair, distance in zip(pairs, distances, strict=True):
            bias = part.bias[h, min(distance, part.bias.shape[1] - 1)]
            weights.append(torch.exp(q[rows] @ pair[: H * K][rows] / math.sqrt(K) + bias))
        total = sum(weights)
        readings.append(sum(w / total * pair[H * K :][rows] for w, pair in zip(weights, pairs, strict=True)))
    return part.output.weight @ torch.cat(readings) + part.output.bias


def test_elmur(agrees):
    torch.manual_seed(0)
    H, M, L, D, blend = 2, 3, 4, 6, 0.3
    memory = ELMUR(D, num_heads=H, slots=M, segment=L, blend=blend, distances=9)
    read_self, read, write = memory.attend

    def step(x, carried):
        t, slots, anchors, inputs, tokens = carried
        inputs = [*inputs, x]
        ages = range(len(inputs) - 1, -1, -1)
        h = add_norm(x + attention(read_self, x, inputs, ages, H), memory.norm[0])
        r = add_norm(h + attention(read, h, slots, [t - p for p in anchors], H), memory.norm[1])
        tokens = [*tokens, r]
        y = memory.output.weight @ r
        if len(tokens) < L:
            return y, (t + 1, slots, anchors, inputs, tokens)
        empty = [j for j in range(M) if anchors[j] < 0]
        j = empty[0] if empty else min(range(M), key=lambda j: anchors[j])
        times = [t - L + 1 + i for i in range(L)]
        u = add_norm(slots[j] + attention(write, slots[j], tokens, [s - anchors[j] for s in times], H), memory.norm[2])
        a = memory.mlp[0].weight @ u + memory.mlp[0].bias
        a = memory.mlp[2].weight @ (a / 2 * (1 + torch.erf(a / math.sqrt(2)))) + memory.mlp[2].bias
        new = add_norm(u + a, memory.norm[3])
        slots, anchors = list(slots), list(anchors)
        slots[j] = new if empty else blend * new + (1 - blend) * slots[j]
        anchors[j] = t
        return y, (t + 1, slots, anchors, [], [])

    agrees(memory, lambda: (0, list(memory.first), [-1] * M, [], []), step)
