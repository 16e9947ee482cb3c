"""Error-correcting memories against the recursions of their papers; Q, K, V as in the layer shared by all of them."""

import torch

from lifelong.memory import EFLA, Comba, GatedDelta2, MixtureOfMemories

EPS = 1e-6  # of unit length: x / sqrt(|x|^2 + EPS)


def silu(z):
    return z / (1 + torch.exp(-z))


def unit(z):
    return z / torch.sqrt((z * z).sum(-1, keepdim=True) + EPS)


class Layer:
    """The layer around a matrix of one head: convolution over two steps, norm and gate on the way out."""

    def __init__(self, memory):
        self.memory = memory
        self.shape = memory.shape[1:]

    def begin(self):
        return torch.zeros(self.memory.project.channels).double(), torch.zeros(*self.shape).double()

    def enter(self, x, before):
        """Return q, k, v before any norm, and the input of the convolution."""
        K = self.shape[1]
        z = self.memory.project.linear.weight @ x
        mixed = silu(self.memory.project.conv[:, 0] * before + self.memory.project.conv[:, 1] * z)
        return *mixed[: 2 * K].split(K), mixed[2 * K :], z

    def leave(self, reading, x):
        out = self.memory.output
        y = reading / torch.sqrt((reading**2).mean() + 1e-5) * out.norm.weight * silu(out.gate.weight @ x)
        return out.linear.weight @ y


def test_efla(agrees):
    torch.manual_seed(0)
    memory = EFLA(6, key_dim=5, value_dim=4)
    layer = Layer(memory)

    def step(x, carried):
        before, S = carried
        q, k, v, z = layer.enter(x, before)
        beta = torch.sigmoid(memory.gate.weight @ x + memory.gate.bias)
        # S' = (v - S k) k^T over a time beta: S is v k^T / |k|^2 and what of S is left of the way there
        there = torch.outer(v, k) / (k @ k)
        along = torch.outer(k, k) / (k @ k)
        S = S - S @ along + there + torch.exp(-beta * (k @ k)) * (S @ along - there)
        return layer.leave(S @ unit(q), x), (z, S)

    agrees(memory, layer.begin, step)


def test_gdn2(agrees):
    torch.manual_seed(0)
    memory = GatedDelta2(6, key_dim=5, value_dim=4, horizons=(2, 20))
    layer = Layer(memory)

    def step(x, carried):
        before, S = carried
        q, k, v, z = layer.enter(x, before)
        q, k = unit(q), unit(k)
        b, w = torch.sigmoid(memory.gate.weight @ x).split([5, 4])
        alpha = 1 / (1 + torch.exp(memory.fade[1].weight @ (memory.fade[0].weight @ x) + memory.fade[1].bias))
        # (I - k (b * k)^T) diag(alpha) S^T + k (w * v)^T, transposed
        S = ((torch.eye(5).double() - torch.outer(k, b * k)) @ torch.diag(alpha) @ S.T + torch.outer(k, w * v)).T
        return layer.leave(S @ q, x), (z, S)

    agrees(memory, layer.begin, step)


def test_comba(agrees):
    torch.manual_seed(0)
    memory = Comba(6, key_dim=5, value_dim=4, horizons=(2, 20))
    layer = Layer(memory)

    def step(x, carried):
        before, S = carried
        q, k, v, z = layer.enter(x, before)
        q, k = unit(q), unit(k)
        beta, fade = memory.gates.weight @ x + memory.gates.bias
        beta, alpha = torch.sigmoid(beta), 1 / (1 + torch.exp(fade))
        b = torch.sigmoid(memory.erased)
        S = S @ (alpha * torch.eye(5).double() - b * beta * torch.outer(k, k)) + beta * torch.outer(v, k)
        return layer.leave(S @ (q - memory.feedback * k), x), (z, S)

    agrees(memory, layer.begin, step)


def test_mom(agrees):
    torch.manual_seed(0)
    K, V, M = 5, 4, 3
    memory = MixtureOfMemories(6, key_dim=K, value_dim=V, memories=M, active=2, horizons=(2, 20))
    layer = Layer(memory)

    def step(x, carried):
        before, S = carried
        q, k, v, z = layer.enter(x, before)
        q, keys = unit(q), [unit(k), *map(unit, v[V : V + M * K].split(K))]
        values = [v[:V], *v[V + M * K :].split(V)]
        strengths, fades = (memory.gates.weight @ x + memory.gates.bias).split(M + 1)
        share = torch.softmax(memory.router.weight @ x, 0)
        chosen = sorted(range(M), key=lambda m: share[m])[-2:]
        S, y = list(S), 0.0
        for m in [0, *(m + 1 for m in chosen)]:
            beta, alpha = torch.sigmoid(strengths[m]), 1 / (1 + torch.exp(fades[m]))
            S[m] = alpha * S[m] @ (torch.eye(K).double() - beta * torch.outer(keys[m], keys[m]))
            S[m] = S[m] + beta * torch.outer(values[m], keys[m])
            y = y + S[m] @ q * (1.0 if m == 0 else share[m - 1] / share[chosen].sum())
        return layer.leave(y, x), (z, S)

    agrees(
        memory, lambda: (torch.zeros(memory.project.channels).double(), [torch.zeros(V, K).double()] * (M + 1)), step
    )
