"""LRU, RTU and S5 against the recursions of arXiv:2303.06349, arXiv:2409.01449 and arXiv:2208.04933."""

import math

import torch

from lifelong.memory import LRU, RTU, S5
from lifelong.memory.additive.s5 import hippo_modes


def gated(reading, y):
    """Return y through GELU and the gated linear map."""
    a, b = (reading.output.weight @ (y / 2 * (1 + torch.erf(y / 2**0.5))) + reading.output.bias).chunk(2)
    return a * torch.sigmoid(b)


def complex_rows(weight):
    return torch.complex(weight[0::2], weight[1::2])


def test_lru(agrees):
    torch.manual_seed(0)
    memory = LRU(6, states=5, horizons=(2, 100))

    def step(x, h):
        factor = torch.exp(torch.complex(-torch.exp(memory.log_fade), torch.exp(memory.log_phase)))
        h = factor * h + torch.exp(memory.log_gain) * (complex_rows(memory.write.weight) @ x.to(h.dtype))
        C = torch.complex(memory.reading.linear.weight[:, 0::2], -memory.reading.linear.weight[:, 1::2])
        return gated(memory.reading, (C @ h).real + memory.reading.skip * x), h

    agrees(memory, lambda: torch.zeros(5, dtype=torch.complex128), step)


def test_rtu(agrees):
    torch.manual_seed(0)
    memory = RTU(6, states=5, horizons=(2, 100))

    def step(x, h):
        r, w = torch.exp(-torch.exp(memory.log_fade)), torch.exp(memory.log_phase)
        g = torch.sqrt(1 - r**2)
        W1, W2 = memory.write.weight[0::2], memory.write.weight[1::2]
        h1 = r * (torch.cos(w) * h[0] - torch.sin(w) * h[1]) + g * (W1 @ x)
        h2 = r * (torch.sin(w) * h[0] + torch.cos(w) * h[1]) + g * (W2 @ x)
        seen = torch.stack([h1, h2], 1).clamp(min=0).flatten()
        return memory.output.weight @ seen + memory.output.bias, (h1, h2)

    agrees(memory, lambda: (torch.zeros(5).double(), torch.zeros(5).double()), step)


def test_s5(agrees):
    torch.manual_seed(0)
    memory = S5(6, states=5, horizons=(2, 100))

    def step(x, h):
        L, dt = torch.complex(-torch.exp(memory.log_decay), memory.frequency), torch.exp(memory.log_step)
        factor = torch.exp(dt * L)
        h = factor * h + (factor - 1) / L * (complex_rows(memory.write.weight) @ x.to(h.dtype))
        C = torch.complex(memory.reading.linear.weight[:, 0::2], -memory.reading.linear.weight[:, 1::2])
        return gated(memory.reading, (C @ h).real + memory.reading.skip * x), h

    agrees(memory, lambda: torch.zeros(5, dtype=torch.complex128), step)


def test_s5_begins_as_a_real_system_with_the_normal_part_of_hippo():
    torch.manual_seed(0)
    N, D, dt = 4, 3, 0.3
    memory = S5(D, states=N).double()
    memory.log_step.data.fill_(math.log(dt))
    real, turn, V = (z.to(torch.complex128) for z in hippo_modes(N))
    n = torch.arange(2 * N).double() + 0.5
    A = -torch.outer(n, n).sqrt().tril(-1) + torch.outer(n, n).sqrt().triu(1) - 0.5 * torch.eye(2 * N)
    torch.testing.assert_close(A.to(V.dtype) @ V, V * (real + 1j * turn), rtol=1e-5, atol=1e-5)  # of float32
    B = 2 * (V @ complex_rows(memory.write.weight)).real
    C = 2 * (torch.complex(*memory.reading.linear.weight.view(D, N, 2).mul(0.5).unbind(-1)).conj() @ V.mH).real
    decay = torch.linalg.matrix_exp(dt * A)
    x, never = torch.randn(1, 7, D).double(), torch.zeros(1, 7, dtype=torch.bool)
    memory.reading.output, h = torch.nn.Identity(), torch.zeros(2 * N).double()
    seen = []
    memory.read = lambda modes, _: seen.append(memory.reading.linear(modes.flatten(-2))) or modes.flatten(-2)[..., :D]
    memory(x, memory.initial_state(1), never)
    for t in range(7):
        h = decay @ h + torch.linalg.solve(A, (decay - torch.eye(2 * N).double()) @ B @ x[0, t])
        torch.testing.assert_close(seen[0][0, t], C @ h, rtol=1e-4, atol=1e-4)
