"""FoX against the sum of arXiv:2503.02130: scores with the log of all forget gates since a step."""

import torch

from lifelong.memory import FoX


def silu(z):
    return z / (1 + torch.exp(-z))


def unit(z):
    return z / torch.sqrt((z * z).sum() + 1e-6)


def test_fox(agrees):
    torch.manual_seed(0)
    H, K, V, W = 2, 4, 3, 5
    memory = FoX(6, num_heads=H, cache=W, key_dim=K, value_dim=V, horizons=(2, 10))

    def step(x, carried):
        before, seen = carried
        z = memory.project.linear.weight @ x
        mixed = silu(memory.project.conv[:, 0] * before + memory.project.conv[:, 1] * z)
        q, k, v = (part.view(H, -1) for part in mixed.split([H * K, H * K, H * V]))
        f = torch.sigmoid(memory.forget.weight @ x + memory.forget.bias)
        seen = [*seen, (k, v, f)][-W:]
        readings = []
        for h in range(H):
            scores = []
            for s, (key, _, _) in enumerate(seen):
                fade = sum(torch.log(seen[r][2][h]) for r in range(s + 1, len(seen)))
                scores.append(memory.sharpness[h] * (unit(q[h]) @ unit(key[h])) + fade)
            weights = torch.stack(scores).exp()
            weights = weights / weights.sum()
            readings.append(sum(w * value[h] for w, (_, value, _) in zip(weights, seen, strict=True)))
        y = torch.stack(readings)
        y = y / torch.sqrt((y * y).mean(-1, keepdim=True) + 1e-5) * memory.output.norm.weight
        y = y.flatten() * silu(memory.output.gate.weight @ x)
        return memory.output.linear.weight @ y, (z, seen)

    agrees(memory, lambda: (torch.zeros(memory.project.channels).double(), []), step)
