"""GTrXL against the attention of arXiv:1901.02860 and the gate of arXiv:1910.06764, head by head."""

import math

import torch

from lifelong.memory import GTrXL


def test_gtrxl(agrees):
    torch.manual_seed(0)
    H, M, K, V, D = 2, 3, 4, 3, 6
    memory = GTrXL(D, num_heads=H, mem_len=M, key_dim=K, value_dim=V)

    def code(distance):
        """Return sines, then cosines, of the distance."""
        angles = [distance / 10_000 ** (i / (D // 2)) for i in range(D // 2)]
        return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles]).double()

    def step(x, seen):
        u = (x - x.mean()) / torch.sqrt(((x - x.mean()) ** 2).mean() + 1e-5) * memory.norm.weight + memory.norm.bias
        seen = [*seen, u][-M - 1 :]
        readings = []
        for h in range(H):
            q = memory.query.weight[h * K : (h + 1) * K] @ u
            W = memory.keys_values.weight[h * (K + V) : (h + 1) * (K + V)]
            R = memory.distance.weight[h * K : (h + 1) * K]
            scores = []
            for distance, past in zip(range(len(seen) - 1, -1, -1), seen, strict=True):
                by_content = (q + memory.content_bias[h]) @ (W[:K] @ past)
                by_distance = (q + memory.distance_bias[h]) @ (R @ code(distance))
                scores.append((by_content + by_distance) / math.sqrt(K))
            weights = torch.stack(scores).exp()
            weights = weights / weights.sum()
            readings.append(sum(w * (W[K:] @ past) for w, past in zip(weights, seen, strict=True)))
        a = (memory.output.linear.weight @ torch.cat(readings)).clamp(min=0)
        W_r, W_z, W_h = memory.gate.input.weight.split(D)
        U_r, U_z = memory.gate.gates.weight.split(D)
        r = 1 / (1 + torch.exp(-(W_r @ a + U_r @ x)))
        z = 1 / (1 + torch.exp(-(W_z @ a + U_z @ x - memory.gate.bias)))
        candidate = torch.tanh(W_h @ a + memory.gate.candidate.weight @ (r * x))
        return (1 - z) * x + z * candidate, seen

    memory.codes = torch.stack([code(distance) for distance in range(M + 1)])  # made in float32
    agrees(memory, list, step)
