"""Delta rules against the recursions of their papers, as products of matrices."""

import math

import pytest
import torch

from lifelong.memory import (
    KDA,
    LMS,
    RWKV7,
    SRWM,
    DeltaNet,
    DeltaProduct,
    GatedDelta,
    PreconditionedDelta,
    RecurrentDelta,
)

K, V = 4, 3
SIZES = {"num_heads": 2, "key_dim": K, "value_dim": V}
ONE = torch.eye(K).double()


def empty(h):
    return torch.zeros(V, K).double()


def test_gated_delta(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = GatedDelta(6, **SIZES, horizons=(3, 30))

    def update(h, x, q, k, v, S):
        write, fade = (memory.gates.weight @ x + memory.gates.bias).view(2, 2)[:, h]
        beta, alpha = plain.sigmoid(write), torch.exp(-plain.softplus(fade))
        S = S @ (alpha * (ONE - beta * torch.outer(k, k))) + beta * torch.outer(v, k)
        return S @ q, S

    matrix_agrees(memory, update, empty)


@pytest.mark.parametrize("style", ["modern", "2021"])
def test_delta_net(matrix_agrees, plain, style):
    torch.manual_seed(0)
    memory = DeltaNet(6, **SIZES, style=style)

    def phi(z):
        z = torch.where(z > 0, z + 1, torch.exp(z))
        return z / z.sum()

    def update(h, x, q, k, v, S):
        if style == "2021":
            q, k = phi(q), phi(k)
        beta = plain.sigmoid(memory.gate.weight @ x + memory.gate.bias)[h]
        S = S @ (ONE - beta * torch.outer(k, k)) + beta * torch.outer(v, k)
        return S @ q, S

    matrix_agrees(memory, update, empty, unit_keys=style == "modern")


@pytest.mark.parametrize("normalised", [False, True])
def test_lms(matrix_agrees, plain, normalised):
    torch.manual_seed(0)
    memory = LMS(6, **SIZES, normalised=normalised)

    def update(h, x, q, k, v, S):
        rate = plain.sigmoid(memory.rate[h]) / ((1e-6 + k @ k) if normalised else 1)
        S = S + rate * torch.outer(v - S @ k, k)
        return S @ q, S

    matrix_agrees(memory, update, empty, unit_keys=not normalised)


def test_delta_product(matrix_agrees, plain):
    torch.manual_seed(0)
    n = 3
    memory = DeltaProduct(6, **SIZES, corrections=n, horizons=(3, 30))

    def update(h, x, q, k, v, S):
        v, keys, values = v.split([V, (n - 1) * K, (n - 1) * V])
        keys, values = [k, *map(plain.unit, keys.view(n - 1, K))], [v, *values.view(n - 1, V)]
        rates, fade = (memory.gates.weight @ x + memory.gates.bias).split([2 * n, 2])
        S = torch.exp(-plain.softplus(fade[h])) * S
        for i in range(n):
            beta = 2 * plain.sigmoid(rates[2 * i + h])
            S = S @ (ONE - beta * torch.outer(keys[i], keys[i])) + beta * torch.outer(values[i], keys[i])
        return S @ q, S

    matrix_agrees(memory, update, empty)


def test_kda(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = KDA(6, **SIZES, horizons=(3, 30))

    def update(h, x, q, k, v, S):
        down, up = memory.fade
        alpha = torch.exp(-plain.softplus(up.weight @ (down.weight @ x) + up.bias)).view(2, K)[h]
        beta = plain.sigmoid(memory.gate.weight @ x + memory.gate.bias)[h]
        # the paper's S is [K, V]
        S = (ONE - beta * torch.outer(k, k)) @ torch.diag(alpha) @ S + beta * torch.outer(k, v)
        return S.T @ q, S

    matrix_agrees(memory, update, lambda h: torch.zeros(K, V).double())


def test_preconditioned_delta(matrix_agrees, plain):
    torch.manual_seed(0)
    memory = PreconditionedDelta(6, **SIZES, horizons=(3, 30), use_horizons=(2, 20))

    def update(h, x, q, k, v, state):
        S, A = state
        write, fade = (memory.gates.weight @ x + memory.gates.bias).view(2, 2)[:, h]
        use, forget = (memory.use_gates.weight @ x + memory.use_gates.bias).view(2, 2)[:, h]
        A = torch.exp(-plain.softplus(forget)) * A + plain.sigmoid(use) * k**2
        r = torch.log(A + 1e-6) - memory.centre[h]
        scaled = k * torch.exp(-math.log(1.5) * r / (1 + torch.abs(r)))
        S = torch.exp(-plain.softplus(fade)) * S
        S = S + plain.sigmoid(write) * torch.outer(v - S @ k, scaled)
        return S @ q, (S, A)

    matrix_agrees(memory, update, lambda h: (empty(h), torch.zeros(K).double()))


def test_recurrent_delta(agrees, plain):
    torch.manual_seed(0)
    H = 2
    memory = RecurrentDelta(6, **SIZES)

    def step(x, carried):
        readings, after = [], []
        for h, (S, y) in enumerate(carried):
            z = (memory.input.weight @ x).view(H, -1)[h] + memory.feedback[h] @ torch.tanh(y)
            q, k, v, b = z.split([K, K, V, 1])
            q, k = torch.exp(q) / torch.exp(q).sum(), torch.exp(k) / torch.exp(k).sum()
            S = S + plain.sigmoid(b) * torch.outer(v - S @ k, k)
            readings.append(S @ q)
            after.append((S, S @ q))
        y = plain.rms(torch.stack(readings), memory.output.norm.weight).flatten()
        return memory.output.linear.weight @ (y * plain.silu(memory.output.gate.weight @ x)), after

    agrees(memory, lambda: [(empty(0), torch.zeros(V).double())] * H, step)


def test_srwm(agrees, plain):
    torch.manual_seed(0)
    H, N = 2, 3
    memory = SRWM(H * N, num_heads=H)

    def softmax(z):
        return torch.exp(z) / torch.exp(z).sum()

    def step(x, matrices):
        readings, after = [], []
        for h, W in enumerate(matrices):
            y, q, k, b = (W @ softmax((memory.input.weight @ x).view(H, -1)[h])).split([N, N, N, 4])
            new, old = W @ softmax(q), W @ softmax(k)
            rate = torch.cat([plain.sigmoid(b[i]).expand(rows) for i, rows in enumerate((N, N, N, 4))])
            readings.append(y)
            after.append(W + torch.outer(rate * (new - old), softmax(k)))
        y = plain.rms(torch.stack(readings), memory.output.norm.weight).flatten()
        return memory.output.linear.weight @ (y * plain.silu(memory.output.gate.weight @ x)), after

    agrees(memory, lambda: list(memory.weight), step)


def test_rwkv7(agrees, plain):
    torch.manual_seed(0)
    H, N = 2, 3
    memory = RWKV7(H * N, num_heads=H, rank=4, horizons=(3, 30))

    def step(x, carried):
        before, matrices = carried
        (down_w, down_a, down_g), (up_w, up_a, up_g) = memory.down, memory.up
        r, k, v, w, a, g = (x + mu * (before - x) for mu in memory.mix)
        r, k, v = memory.r.weight @ r, memory.k.weight @ k, memory.v.weight @ v
        w = torch.exp(-math.exp(-0.5) * plain.sigmoid(memory.fade + torch.tanh(w @ down_w) @ up_w))
        a = plain.sigmoid(memory.rate + a @ down_a @ up_a)
        g = plain.sigmoid(g @ down_g) @ up_g
        removal = k * memory.removed
        k = k * (1 + (a - 1) * memory.spared)
        readings, after = [], []
        for h, S in enumerate(matrices):
            rows = slice(h * N, (h + 1) * N)
            z = plain.unit(removal[rows])
            S = S @ (torch.diag(w[rows]) - torch.outer(z, a[rows] * z)) + torch.outer(v[rows], k[rows])
            y = S @ r[rows]
            y = (y - y.mean()) / torch.sqrt(((y - y.mean()) ** 2).mean() + 64e-5)
            y = y * memory.norm.weight[rows] + memory.norm.bias[rows]
            readings.append(y + (memory.bonus[h] * r[rows] * k[rows]).sum() * v[rows])
            after.append(S)
        return memory.output.weight @ (torch.cat(readings) * g), (x, after)

    agrees(memory, lambda: (torch.zeros(H * N).double(), [torch.zeros(N, N).double()] * H), step)
