"""Attention over a bounded part of a life, with its pairs in a list; Transformer-XL head by head."""

import math

import pytest
import torch

from lifelong.memory import HeavyHitter, LoLA, SinkWindow, TransformerXL, make_memory

SIZES = {"num_heads": 2, "key_dim": 4, "value_dim": 3}


def mean(weights, values):
    total = sum(weights)
    return sum(w / total * value for w, value in zip(weights, values, strict=True))


@pytest.mark.parametrize("name", ["window", "softmax"])
def test_window(matrix_agrees, name):
    torch.manual_seed(0)
    W = {"window": 5, "softmax": 32}[name]
    memory = make_memory(name, 6, **SIZES, cache=W)

    def update(h, x, q, k, v, pairs):
        pairs = [*pairs, (k, v)]
        seen = list(enumerate(reversed(pairs)))[:W]
        weights = [torch.exp(memory.sharpness[h] * (q @ key) + memory.bias[h, age]) for age, (key, _) in seen]
        return mean(weights, [value for _, (_, value) in seen]), pairs

    matrix_agrees(memory, update, lambda h: [])


def test_sink_window(matrix_agrees):
    torch.manual_seed(0)
    N, W = 2, 4
    memory = SinkWindow(6, **SIZES, sinks=N, cache=W)

    def update(h, x, q, k, v, pairs):
        pairs = [*pairs, (k, v)]
        cached = pairs if len(pairs) <= N + W else [*pairs[:N], *pairs[-W:]]
        weights = [
            torch.exp(memory.sharpness[h] * (q @ key) + memory.bias[h, len(cached) - 1 - place])
            for place, (key, _) in enumerate(cached)
        ]
        return mean(weights, [value for _, value in cached]), pairs

    matrix_agrees(memory, update, lambda h: [])


def test_heavy_hitter(matrix_agrees):
    torch.manual_seed(0)
    W, R = 6, 2
    memory = HeavyHitter(6, **SIZES, cache=W, recent=R)

    def update(h, x, q, k, v, state):
        now, slots = state
        slots = list(slots)  # of when, key, value and attention so far
        if len(slots) == W:
            old = [slot for slot in slots if now - slot[0] > R]
            slots.remove(min(old, key=lambda slot: slot[3]))
        slots.append((now, k, v, 0.0))
        weights = [
            torch.exp(memory.sharpness[h] * (q @ key) + memory.bias[h, min(now - when, R)]) for when, key, _, _ in slots
        ]
        total = sum(weights)
        y = mean(weights, [value for _, _, value, _ in slots])
        slots = [
            (when, key, value, score + (w / total).item())
            for w, (when, key, value, score) in zip(weights, slots, strict=True)
        ]
        return y, (now + 1, slots)

    matrix_agrees(memory, update, lambda h: (0, []))


def test_transformer_xl(agrees, plain):
    torch.manual_seed(0)
    D, M, (H, K, V) = 6, 3, (2, 4, 3)
    memory = TransformerXL(D, **SIZES, mem_len=M)

    def code(distance):
        angles = [distance / 10_000 ** (i / (D // 2)) for i in range(D // 2)]
        return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles]).double()

    def step(x, seen):
        seen = [*seen, x][-M - 1 :]
        readings = []
        for h in range(H):
            q = memory.query.weight[h * K : (h + 1) * K] @ x
            W = memory.keys_values.weight[h * (K + V) : (h + 1) * (K + V)]
            R = memory.distance.weight[h * K : (h + 1) * K]
            weights = []
            for distance, past in zip(range(len(seen) - 1, -1, -1), seen, strict=True):
                by_content = (q + memory.content_bias[h]) @ (W[:K] @ past)
                by_distance = (q + memory.distance_bias[h]) @ (R @ code(distance))
                weights.append(torch.exp((by_content + by_distance) / math.sqrt(K)))
            readings.append(mean(weights, [W[K:] @ past for past in seen]))
        y = plain.rms(torch.stack(readings), memory.output.norm.weight).flatten()
        return memory.output.linear.weight @ (y * plain.silu(memory.output.gate.weight @ x)), seen

    memory.codes = torch.stack([code(distance) for distance in range(M + 1)])  # made in float32
    agrees(memory, list, step)


def test_lola(matrix_agrees):
    torch.manual_seed(0)
    W, L, V = 4, 3, 3
    memory = LoLA(6, **SIZES, window=W, cache=L)

    def phi(h, z):
        return torch.softmax(torch.cat([memory.features[h] @ z, -memory.features[h] @ z]), 0)

    def recalled(S, z, features):
        return S @ features / (z @ features) if z.any() else torch.zeros(V).double()

    def update(h, x, q, k, v, state):
        recent, cached, S, z = state
        recent = [*recent, (k, v)]
        near = [torch.exp(memory.sharpness[h] * (q @ key) + memory.bias[h, age])
                for age, (key, _) in enumerate(reversed(recent))]  # fmt: skip
        far = [torch.exp(memory.sharpness[h] * (q @ key)) for key, _ in cached]
        total = sum(near) + sum(far, 0.0) + torch.exp(memory.linear_bias[h]) * (z @ phi(h, q))
        y = sum(w * value for w, (_, value) in zip(near, reversed(recent), strict=True))
        y = y + sum((w * value for w, (_, value) in zip(far, cached, strict=True)), 0.0)
        y = (y + torch.exp(memory.linear_bias[h]) * (S @ phi(h, q))) / total
        if len(recent) == W:  # the oldest leaves the window
            cached = [*cached, recent[0]]
            recent = recent[1:]
            if len(cached) > L:
                errors = [((recalled(S, z, phi(h, key)) - value) ** 2).sum().item() for key, value in cached]
                loser = min(range(L + 1), key=lambda i: errors[i])
                key, value = cached[loser]
                S, z = S + torch.outer(value, phi(h, key)), z + phi(h, key)
                # the newcomer takes the loser's place
                cached = [cached[-1] if i == loser else pair for i, pair in enumerate(cached[:-1])]
        return y, (recent, cached, S, z)

    matrix_agrees(memory, update, lambda h: ([], [], torch.zeros(V, 8).double(), torch.zeros(8).double()))
