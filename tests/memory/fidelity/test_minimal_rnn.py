"""minGRU and minLSTM against section 3 of arXiv:2410.01201, `positive` against its appendix B."""

import pytest
import torch

from lifelong.memory import MinGRU, MinLSTM


def g(a):
    return torch.stack([v + 0.5 if v >= 0 else 1 / (1 + torch.exp(-v)) for v in a])


@pytest.mark.parametrize("positive", [False, True])
def test_mingru(agrees, positive):
    torch.manual_seed(0)
    memory = MinGRU(6, hidden=10, positive=positive)

    def step(x, h):
        z = 1 / (1 + torch.exp(-(memory.gates.weight @ x + memory.gates.bias)))
        candidate = memory.candidate.weight @ x + memory.candidate.bias
        h = (1 - z) * h + z * (g(candidate) if positive else candidate)
        return memory.output.weight @ h, h

    agrees(memory, lambda: torch.zeros(10).double(), step)


@pytest.mark.parametrize("positive", [False, True])
def test_minlstm(agrees, positive):
    torch.manual_seed(0)
    memory = MinLSTM(6, hidden=10, positive=positive)

    def step(x, h):
        f, i = (1 / (1 + torch.exp(-(memory.gates.weight @ x + memory.gates.bias)))).split(10)
        candidate = memory.candidate.weight @ x + memory.candidate.bias
        h = f / (f + i) * h + i / (f + i) * (g(candidate) if positive else candidate)
        return memory.output.weight @ h, h

    agrees(memory, lambda: torch.zeros(10).double(), step)
