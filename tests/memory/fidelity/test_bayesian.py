"""Palimpsa as mean and importance, Mesa as a solved system, Kalman delta as a filter of variances."""

import pytest
import torch

from lifelong.memory import KalmanDelta, Mesa, Palimpsa, make_memory

K, V = 4, 3
SIZES = {"num_heads": 2, "key_dim": K, "value_dim": V}
FORMS = {"palimpsa": "vector", "palimpsa_scalar": "scalar", "palimpsa_key": "key", "not_palimpsa": "none"}


def gates(memory, plain, x, h):
    write, fade = (memory.gates.weight @ x + memory.gates.bias).view(2, 2)[:, h]
    return plain.sigmoid(write), torch.exp(-plain.softplus(fade))


def remembered(precision, mu, alpha, prior, b, written, k):
    """Return importance and mean after one step, equations 25 and 26 of the paper's draft."""
    later = alpha * precision + (1 - alpha) * prior + b * k**2
    return later, alpha * precision / later * mu + torch.outer(written, torch.ones(K).double()) * k / later


@pytest.mark.parametrize("name", ["palimpsa", "palimpsa_scalar", "palimpsa_key", "not_palimpsa"])
def test_palimpsa(matrix_agrees, plain, name):
    torch.manual_seed(0)
    memory = make_memory(name, 6, **SIZES, horizons=(3, 30))

    def update(h, x, q, k, v, state):
        precision, mu = state
        s, alpha = gates(memory, plain, x, h)
        if name == "not_palimpsa":
            b = torch.zeros(1, 1).double()
        else:
            down, up = memory.importance
            b = plain.sigmoid(up.weight @ (down.weight @ x)) * plain.softplus(memory.importance_scale)
            b = s * b.view(2, -1)[h]
            b = (
                b[:, None] if name == "palimpsa" else b[None]
            )  # per value channel [V, 1], or per key channel [1, K or 1]
        precision, mu = remembered(precision, mu, alpha, memory.prior[h], b, s * v, k)
        return mu @ q + memory.skip[h] * v, (precision, mu)

    matrix_agrees(memory, update, lambda h: (torch.ones(V, K).double(), torch.zeros(V, K).double()))


def test_palimpsa_writes_as_the_paper_does_with_the_importance_as_numerator(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = Palimpsa(6, **SIZES, horizons=(3, 30), numerator="beta")

    def update(h, x, q, k, v, state):
        s, alpha = gates(memory, plain, x, h)
        down, up = memory.importance
        b = s * (plain.sigmoid(up.weight @ (down.weight @ x)) * plain.softplus(memory.importance_scale)).view(2, -1)[h]
        precision, mu = remembered(*state, alpha, memory.prior[h], b[:, None], b * v, k)
        return mu @ q + memory.skip[h] * v, (precision, mu)

    matrix_agrees(memory, update, lambda h: (torch.ones(V, K).double(), torch.zeros(V, K).double()))


def test_meta_mamba2(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = make_memory("meta_mamba2", 6, **SIZES, horizons=(3, 30))
    host = memory.host
    memory.project, memory.output = host.project, host.output  # where the check looks for them

    def update(h, x, q, k, v, state):
        dt = plain.softplus(host.step_size.weight @ x + host.step_size.bias)[h]
        down, up = memory.importance
        b = (plain.sigmoid(up.weight @ (down.weight @ x)) * plain.softplus(memory.importance_scale)).view(2, -1)[h]
        alpha = torch.exp(-dt * torch.exp(host.log_rate[h]))
        precision, mu = remembered(*state, alpha, 1.0, dt * b[:, None], dt * v, k)
        return mu @ q + host.skip[h] * v, (precision, mu)

    def leave(readings, x):
        gated = readings * plain.silu(host.output.gate.weight @ x).view(readings.shape)
        return host.output.linear.weight @ plain.rms(gated, host.output.norm.weight).flatten()

    first = torch.ones(V, K).double(), torch.zeros(V, K).double()
    matrix_agrees(memory, update, lambda h: first, unit_keys=False, leave=leave)


def test_metaplastic_linear_attention(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = make_memory("metaplastic_linear_attention", 6, **SIZES)
    memory.project, memory.output = memory.host.project, memory.host.output

    def phi(z):
        return torch.where(z > 0, z + 1, torch.exp(z))

    def update(h, x, q, k, v, state):
        precision, mu, z = state
        down, up = memory.importance
        b = (plain.sigmoid(up.weight @ (down.weight @ x)) * plain.softplus(memory.importance_scale)).view(2, -1)[h]
        precision, mu = remembered(precision, mu, 1.0, 1.0, b[:, None], v, phi(k))
        z = z + phi(k)  # the normaliser has no importance
        return mu @ phi(q) / (z @ phi(q) + 1e-6), (precision, mu, z)

    first = torch.ones(V, K).double(), torch.zeros(V, K).double(), torch.zeros(K).double()
    matrix_agrees(memory, update, lambda h: first, unit_keys=False)


def test_mesa(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = Mesa(6, **SIZES, horizons=(3, 30), iterations=30)

    def update(h, x, q, k, v, state):
        H, G = state
        beta, alpha = gates(memory, plain, x, h)
        H, G = alpha * H + beta * torch.outer(k, k), alpha * G + beta * torch.outer(v, k)
        ridge = torch.diag(0.25 + plain.softplus(memory.ridge[h]))
        return G @ torch.linalg.solve(H + ridge, q), (H, G)

    matrix_agrees(memory, update, lambda h: (torch.zeros(K, K).double(), torch.zeros(V, K).double()))


def test_kalman_delta(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = KalmanDelta(6, **SIZES, horizons=(3, 30), precision=2.0)

    def update(h, x, q, k, v, state):
        mean, variance = state  # of a row, for each key channel
        trust, alpha = gates(memory, plain, x, h)
        noise = 1 / (torch.exp(memory.scale[h]) * trust)
        # predict: the posterior to the power alpha times the prior N(0, 1) to the power 1 - alpha
        predicted = 1 / (alpha / variance + (1 - alpha))
        mean = mean * predicted * alpha / variance
        gain = predicted * k / (noise + k @ (predicted * k))
        mean = mean + torch.outer(v - mean @ k, gain)
        variance = 1 / (1 / predicted + k**2 / noise)  # of the precision, the diagonal
        return mean @ q, (mean, variance)

    matrix_agrees(memory, update, lambda h: (torch.zeros(V, K).double(), torch.ones(K).double()))
