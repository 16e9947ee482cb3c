"""FFM against the recursion of arXiv:2310.04128 in complex numbers."""

import torch

from lifelong.memory import FFM


def test_ffm(agrees):
    torch.manual_seed(0)
    memory = FFM(6, traces=5, contexts=3, horizons=(2, 100))
    w, b = memory.enter.weight, memory.enter.bias

    def step(x, S):
        u, write, skip, out = (w.double() @ x + b.double()).split([5, 5, 6, 6])
        gamma = torch.exp(torch.complex(-memory.log_fade.exp()[:, None].expand(5, 3), memory.frequency.expand(5, 3)))
        S = gamma * S + (u * torch.sigmoid(write))[:, None]
        z = memory.mix.weight @ torch.cat([S.real[:, :, None], S.imag[:, :, None]], 2).flatten() + memory.mix.bias
        z = (z - z.mean()) / torch.sqrt(((z - z.mean()) ** 2).mean() + 1e-5)
        return z * torch.sigmoid(out) + skip * (1 - torch.sigmoid(out)), S

    agrees(memory, lambda: torch.zeros(5, 3, dtype=torch.complex128), step)
