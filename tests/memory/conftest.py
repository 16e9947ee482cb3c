"""A memory stripped to its recurrence, so that a number can be worked out by hand."""

import pytest
from torch import nn


class Given(nn.Module):
    """Stub of the projection: x is q, k, v."""

    def __init__(self, project):
        super().__init__()
        self.num_heads, self.channels, self.window_shape = project.num_heads, project.channels, (0, project.channels)
        keys = project.num_heads * project.key_dim
        self.sizes, self.unit = [keys, keys, project.channels - 2 * keys], project.unit

    def forward(self, x, window, start):
        q, k, v = (z.unflatten(-1, (self.num_heads, -1)) for z in x.split(self.sizes, -1))
        if self.unit:
            q, k = nn.functional.normalize(q, dim=-1), nn.functional.normalize(k, dim=-1)
        return q, k, v, window


class Bare(nn.Module):
    """Stub of the output: y is the reading."""

    def forward(self, reading, x):
        return reading.flatten(-2)


@pytest.fixture
def bare():
    def strip(memory):
        memory.project, memory.output = Given(memory.project), Bare()
        for p in memory.parameters():
            nn.init.zeros_(p)
        return memory.double()

    return strip
