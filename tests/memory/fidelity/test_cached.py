"""Memory caching against equations 7, 9, 10 and 17 of arXiv:2602.24281, as a list of states, with a minGRU as host."""

import pytest
import torch

from lifelong.memory import MemoryCaching, MinGRU


@pytest.mark.parametrize("mix", ["residual", "gated", "sparse"])
@pytest.mark.parametrize("fresh", [False, True])
def test_cached(agrees, mix, fresh):
    torch.manual_seed(0)
    N, C, D = 3, 4, 5
    memory = MemoryCaching(D, MinGRU(D, horizons=(2, 20)), slots=N, segment=C, mix=mix, active=2, fresh=fresh)
    host = memory.host

    def stepped(x, h):
        z = 1 / (1 + torch.exp(-(host.gates.weight @ x + host.gates.bias)))
        return (1 - z) * h + z * (host.candidate.weight @ x + host.candidate.bias)

    def step(x, carried):
        h, inputs, cached = carried
        inputs = [*inputs, x]
        present, cached = stepped(x, h), list(cached)
        readings = [(sum(inputs) / len(inputs), present), *((mean, stepped(x, state)) for mean, state in cached)]
        if mix == "residual":
            y = sum(reading for _, reading in readings)
        else:
            u = memory.gate.weight @ x
            scores = [u @ mean for mean, _ in readings]
            read = range(len(readings))
            if mix == "sparse":
                read = [0, *sorted(range(1, len(readings)), key=lambda i: -scores[i])[:2]]
            total = sum(torch.exp(scores[i]) for i in read)
            y = sum(torch.exp(scores[i]) / total * readings[i][1] for i in read)
        if len(inputs) == C:
            cached = [*cached, (sum(inputs) / C, present)][-N:]
            return y, (torch.zeros(D).double() if fresh else present, [], cached)
        return y, (present, inputs, cached)

    agrees(memory, lambda: (torch.zeros(D).double(), [], []), step)
