"""BMRU against the four equations of the cell in arXiv:2605.15216."""

import torch

from lifelong.memory import BMRU


def test_bmru(agrees):
    torch.manual_seed(0)
    memory = BMRU(6, hidden=10)

    def heaviside(z):
        return torch.stack([torch.ones_like(v) if v > 0 else torch.zeros_like(v) for v in z])

    def step(x, h):
        c = (memory.candidate.weight @ x + memory.candidate.bias).clamp(min=0)
        half = torch.log(1 + torch.exp(memory.half_width))
        low, high = heaviside(memory.centre - half - c), heaviside(c - memory.centre - half)
        h = high * memory.level + (1 - low) * (1 - high) * h
        return memory.output.weight @ h + memory.output.bias, h

    agrees(memory, lambda: torch.zeros(10).double(), step)
