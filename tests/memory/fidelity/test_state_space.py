"""State spaces and the recurrent networks of xLSTM and torch against the recursions of their papers."""

import math

import pytest
import torch

from lifelong.memory import GRU, LSTM, S4D, SLSTM, Longhorn, Mamba


@pytest.fixture
def selective_agrees(agrees, plain):
    """Return a check of memories in Mamba's block: `update(u, rate, B, state)` returns the next state [E, N]."""

    def check(memory, update):
        E, N = memory.shape

        def step(x, carried):
            before, state = carried
            z, gate = (memory.enter.weight @ x).chunk(2)
            u = plain.silu(memory.conv[:, 0] * before + memory.conv[:, 1] * z)
            low, B, C = (memory.select.weight @ u).split([memory.rank, N, N])
            state = update(u, memory.rate.weight @ low + memory.rate.bias, B, state)
            y = plain.rms(state @ C + memory.skip * u, memory.norm.weight) * plain.silu(gate)
            return memory.leave.weight @ y, (z, state)

        agrees(memory, lambda: (torch.zeros(E).double(), torch.zeros(E, N).double()), step)

    return check


def test_mamba(selective_agrees, plain):
    torch.manual_seed(0)
    memory = Mamba(6, channels=5, states=4, horizons=(3, 30))

    def update(u, rate, B, state):
        delta, A = plain.softplus(rate), -torch.exp(memory.log_fade)
        return torch.stack([torch.exp(delta[e] * A[e]) * state[e] + delta[e] * B * u[e] for e in range(5)])

    selective_agrees(memory, update)


def test_longhorn(selective_agrees, plain):
    torch.manual_seed(0)
    memory = Longhorn(6, channels=5, states=4, horizons=(3, 30))

    def update(u, rate, k, state):
        rows = []
        for e in range(5):
            beta = plain.sigmoid(rate[e])
            step = beta / (1 + beta * (k @ k))
            rows.append((1 - step * k * k) * state[e] + step * k * u[e])
        return torch.stack(rows)

    selective_agrees(memory, update)


def test_s4d(agrees):
    torch.manual_seed(0)
    memory = S4D(5, modes=3, horizons=(3, 30))

    def step(x, h):
        dt, A = torch.exp(memory.log_step)[:, None], torch.complex(-torch.exp(memory.log_fade), memory.frequency)
        h = torch.exp(dt * A) * h + (torch.exp(dt * A) - 1) / A * x[:, None]  # zero-order hold, B = 1
        C = torch.complex(memory.read[..., 0], memory.read[..., 1])
        y = 2 * (C * h).sum(1).real + memory.skip * x
        a, b = (memory.output.weight @ (y / 2 * (1 + torch.erf(y / math.sqrt(2)))) + memory.output.bias).chunk(2)
        return a / (1 + torch.exp(-b)), h

    agrees(memory, lambda: torch.zeros(5, 3, dtype=torch.complex128), step)


def test_slstm(agrees, plain):
    torch.manual_seed(0)
    D, H = 6, 2
    memory = SLSTM(D, num_heads=H, horizons=(3, 30))

    def step(x, carried):
        before, c, n, h = carried  # without a stabiliser
        seen = plain.silu(memory.conv[:, 0] * before + memory.conv[:, 1] * x)
        i, f = (memory.gates.weight @ seen + memory.gates.bias).chunk(2)
        z, o = (memory.cells.weight @ x + memory.cells.bias).chunk(2)
        heard = [memory.recurrent[g] @ h.view(H, -1)[g] for g in range(H)]  # of one head i, f, z and o, in turn
        i, f, z, o = (gate + torch.cat([part.view(4, -1)[g] for part in heard]) for g, gate in enumerate((i, f, z, o)))
        i, f = torch.exp(i), plain.sigmoid(f)
        c, n = f * c + i * torch.tanh(z), f * n + i
        h = plain.sigmoid(o) * c / n
        return memory.output.weight @ plain.rms(h.view(H, -1), memory.norm.weight).flatten(), (x, c, n, h)

    agrees(memory, lambda: (torch.zeros(D).double(),) * 4, step)


def test_gru(agrees, plain):
    torch.manual_seed(0)
    memory = GRU(5, hidden=4)
    w, u, b, c = (
        memory.network.get_parameter(f"{kind}_l0") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )

    def step(x, h):
        given, heard = (w @ x + b).chunk(3), (u @ h + c).chunk(3)
        r, z = plain.sigmoid(given[0] + heard[0]), plain.sigmoid(given[1] + heard[1])
        h = (1 - z) * torch.tanh(given[2] + r * heard[2]) + z * h
        return memory.output.weight @ h, h

    agrees(memory, lambda: torch.zeros(4).double(), step)


def test_lstm(agrees, plain):
    torch.manual_seed(0)
    memory = LSTM(5, hidden=4)
    w, u, b, c = (
        memory.network.get_parameter(f"{kind}_l0") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )

    def step(x, carried):
        h, cell = carried
        i, f, g, o = (w @ x + b + u @ h + c).chunk(4)
        cell = plain.sigmoid(f) * cell + plain.sigmoid(i) * torch.tanh(g)
        h = plain.sigmoid(o) * torch.tanh(cell)
        return memory.output.weight @ h, (h, cell)

    agrees(memory, lambda: (torch.zeros(4).double(),) * 2, step)
