"""SHM against the recursion of arXiv:2410.10132, with the row of each step as it is chosen here."""

import math

import torch

from lifelong.memory import SHM


def test_shm(agrees):
    torch.manual_seed(0)
    N = 5
    memory = SHM(6, size=N, rows=7)

    def step(x, carried):
        M, n = carried
        x = (x - x.mean()) / torch.sqrt(((x - x.mean()) ** 2).mean() + 1e-5) * memory.norm.weight + memory.norm.bias
        k, q, v, c, eta = (memory.project.weight @ x).split([N, N, N, N, 1])
        k, q = k.clamp(min=0), q.clamp(min=0)
        k, q = k / (1e-5 + k.sum()), q / (1e-5 + q.sum())
        part = n * (math.sqrt(5) - 1) / 2
        theta = memory.theta[math.floor(7 * (part - math.floor(part)))]
        C = 1 + torch.tanh(torch.outer(theta, c))
        M = M * C + torch.sigmoid(eta) * torch.outer(v, k)
        return memory.output.weight @ (M @ q) + memory.output.bias, (M, n + 1)

    agrees(memory, lambda: (torch.zeros(N, N).double(), 0), step)
