"""Networks trained at test time, with gradients by autograd and not written out: normalised ones, and raw."""

import pytest
import torch

from lifelong.memory import TTTMLP, Atlas, Hope, LaCT, Memora, Moneta, Titans, TTTLinear, Yaad

EPS, TINY = 1e-2, 1e-12
BOUNDS = pytest.mark.parametrize("bound", ["on", "off"])
MUON = [  # of the published iteration, step by step
    (4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012),
]  # fmt: skip


def cut(flat, layers):
    sizes = [rows * columns for rows, columns in layers]
    return [part.view(*shape) for part, shape in zip(flat.split(sizes), layers, strict=True)]


def network(weights, x):
    for n, weight in enumerate(weights):
        x = x * torch.sigmoid(x) if n else x
        x = weight @ (torch.cat([x, torch.ones(1).double()]) if weight.shape[1] > len(x) else x)
    return x


def layer_norm(z, norm):
    if norm is None:
        return z
    return (z - z.mean()) / torch.sqrt(((z - z.mean()) ** 2).mean() + EPS) * norm[0] + norm[1]


def squared(error):
    return (error**2).sum() / 2


def cubic(error):
    size = torch.abs(error)
    return torch.where(size <= 1, size**3 / 3, size - 2 / 3).sum()


def huber(limit):
    def loss(error):
        length = torch.sqrt((error**2).sum() + TINY)
        return torch.where(length <= limit, length**2 / 2, limit * (length - limit / 2))

    return loss


def gradient(weights, x, target, bound, norm=None, loss=squared, reach=None):
    """Return the gradient by each matrix; with the bound a step of rate 1 corrects no more than the error."""
    with torch.enable_grad():
        leaves = [weight.detach().requires_grad_() for weight in weights]
        z = network(leaves, x)
        *slopes, by_output = torch.autograd.grad(loss(layer_norm(z, norm) - target), [*leaves, z])
    if bound == "off":
        return slopes
    steep = 1.0 if norm is None else (norm[0] ** 2).max() / (((z - z.mean()) ** 2).mean().detach() + EPS)
    size = sum(r * (slope**2).sum() for r, slope in zip(reach or [1.0] * len(slopes), slopes, strict=True))
    gain = steep * size / ((by_output**2).sum() + TINY)
    return [slope / max(gain, 1.0) for slope in slopes]


def orthogonal(G):
    X = G if G.shape[0] <= G.shape[1] else G.T
    X = X / torch.sqrt((X**2).sum() + 1e-6)
    for a, b, c in MUON:
        A = X @ X.T
        X = a * X + b * A @ X + c * A @ A @ X
    return X if G.shape[0] <= G.shape[1] else X.T


def none_of(weights):
    return [torch.zeros_like(weight) for weight in weights]


def plus(*parts):
    return [sum(layer) for layer in zip(*parts, strict=True)]


def times(factor, part):
    return [factor * layer for layer in part]


def at_rest(memory):
    """Return the first state: place in the mini-batch, offsets where it began, at present, and momentum."""

    def begin(h):
        zeros = none_of(cut(memory.weights[h], memory.layers))
        return 0, zeros, zeros, zeros

    return begin


def gates(memory, plain, x, h, *kinds):
    """Return head h's gates: rates and momenta by sigmoid, decays by exp(-softplus), limits by softplus."""
    by_kind = {"rate": plain.sigmoid, "decay": lambda z: torch.exp(-plain.softplus(z)), "limit": plain.softplus}
    raw = (memory.gates.weight @ x + memory.gates.bias).view(len(kinds), -1)[:, h]
    return [by_kind[kind](z) for kind, z in zip(kinds, raw, strict=True)]


@BOUNDS
@pytest.mark.parametrize("name", ["ttt_linear", "ttt_mlp"])
def test_ttt(matrix_agrees, plain, name, bound):
    torch.manual_seed(0)
    C = 4
    memory = TTTLinear(6, 2, batch=C, bound=bound) if name == "ttt_linear" else TTTMLP(6, 2, 5, batch=C, bound=bound)

    def update(h, x, q, k, v, state):
        place, began, now, _ = state
        norm, A = (memory.norm_scale[h], memory.norm_offset[h]), cut(memory.weights[h], memory.layers)
        (theta,) = gates(memory, plain, x, h, "rate")
        theta = theta / (3 if bound == "off" else 1)  # 1 / K
        slopes = gradient(plus(A, began), k, v - k, bound, norm)
        now = plus(now, times(-theta, slopes))
        rho = max(1 / (place + 1) + memory.place[h, place], 0.0)
        seen = plus(began, times(rho, plus(now, times(-1, began))))
        y = q + layer_norm(network(plus(A, seen), q), norm)
        return y, ((0, seen, seen, None) if place + 1 == C else (place + 1, began, now, None))

    matrix_agrees(memory, update, at_rest(memory))


@BOUNDS
def test_titans(matrix_agrees, plain, bound):
    torch.manual_seed(0)
    C = 4
    memory = Titans(6, 2, hidden=5, key_dim=4, value_dim=3, batch=C, horizons=(3, 30), bound=bound)

    def update(h, x, q, k, v, state):
        place, began, now, momentum = state
        A = cut(memory.weights[h], memory.layers)
        theta, alpha, eta = gates(memory, plain, x, h, "rate", "decay", "rate")
        slopes = gradient(plus(A, began), k, v, bound)
        momentum = plus(times(eta, momentum), times(-(1 - eta) * theta / C, slopes))
        now = plus(times(alpha, now), momentum)
        y = network(plus(A, now), q)
        return y, ((0, now, now, momentum) if place + 1 == C else (place + 1, began, now, momentum))

    matrix_agrees(memory, update, at_rest(memory))


@BOUNDS
@pytest.mark.parametrize("name", ["moneta", "yaad", "memora"])
def test_miras(matrix_agrees, plain, name, bound):
    torch.manual_seed(0)
    C = 4
    memory = {"moneta": Moneta, "yaad": Yaad, "memora": Memora}[name](6, 2, 5, batch=C, horizons=(3, 30), bound=bound)

    def update(h, x, q, k, v, state):
        place, began, now, _ = state
        norm, A = (memory.norm_scale[h], memory.norm_offset[h]), cut(memory.weights[h], memory.layers)
        theta, alpha, *limit = gates(memory, plain, x, h, "rate", "decay", *["limit"] * (name == "yaad"))
        reach = None
        if name == "moneta":  # W = A / |A|_4^2, with the norm of the mini-batch's beginning
            reach = [1 / torch.sqrt((layer**4).sum() + 1e-4) for layer in plus(A, began)]

        def weights(accumulated):
            if name == "moneta":
                return [r * layer for r, layer in zip(reach, accumulated, strict=True)]
            if name == "memora":
                return [layer.shape[1] * torch.softmax(layer, 1) - 1 for layer in accumulated]
            return accumulated

        loss = {"moneta": cubic, "yaad": huber(*limit) if limit else None, "memora": squared}[name]
        slopes = gradient(weights(plus(A, began)), k, v - k, bound, norm, loss, reach)
        now = plus(times(alpha, now), times(-theta / C, slopes))
        y = q + layer_norm(network(weights(plus(A, now)), q), norm)
        return y, ((0, now, now, None) if place + 1 == C else (place + 1, began, now, None))

    matrix_agrees(memory, update, at_rest(memory))


def polynomial(x, powers):
    pairs = [x[i] * x[j] * (1 if i == j else 2**0.5) for i in range(len(x)) for j in range(i, len(x))]
    a, b = powers / torch.sqrt((powers**2).sum())
    return torch.cat([a * x, b * torch.stack(pairs)])


@BOUNDS
@pytest.mark.parametrize("muon", [False, True])
def test_atlas(matrix_agrees, plain, muon, bound):
    torch.manual_seed(0)
    C, c = 4, 3
    memory = Atlas(6, 2, c, hidden=5, key_dim=3, value_dim=3, batch=C, muon=muon, horizons=(3, 30), bound=bound)

    def update(h, x, q, k, v, state):
        place, began, now, momentum, pairs = state
        A = cut(memory.weights[h], memory.layers)
        theta, alpha, eta, gamma = gates(memory, plain, x, h, "rate", "decay", "rate", "rate")
        pairs = [*pairs, (k, v, gamma)][-c:]
        found = [gradient(plus(A, began), polynomial(key, memory.powers[h]), value, bound) for key, value, _ in pairs]
        mean = plus(*(times(trust / c, slopes) for slopes, (_, _, trust) in zip(found, pairs, strict=True)))
        momentum = plus(times(eta, momentum), times(1 - eta, mean))
        change = [orthogonal(layer) for layer in momentum] if muon else momentum
        now = plus(times(alpha, now), times(-theta / C, change))
        y = network(plus(A, now), polynomial(q, memory.powers[h]))
        return y, ((0, now, now, momentum, pairs) if place + 1 == C else (place + 1, began, now, momentum, pairs))

    matrix_agrees(memory, update, lambda h: (*at_rest(memory)(h), []))


def test_lact(agrees, plain):
    torch.manual_seed(0)
    C = 4
    memory = LaCT(6, 2, hidden=5, chunk=C, horizons=(3, 30))
    window = memory.attention

    def gated(weights, x):
        opened = weights[0] @ x
        return weights[1] @ (opened * torch.sigmoid(opened) * (weights[2] @ x))

    def update(h, x, q, k, v, state):
        place, now, gathered, momentum = state
        A = cut(memory.weights[h], memory.layers)
        eta = plain.softplus(memory.gates.weight @ x + memory.gates.bias).view(2, 3)[h]
        y = gated(plus(A, now), q)
        with torch.enable_grad():
            leaves = [weight.detach().requires_grad_() for weight in plus(A, now)]
            slopes = torch.autograd.grad(gated(leaves, k) @ v, leaves)
        gathered = [G + rate * slope for G, rate, slope in zip(gathered, eta, slopes, strict=True)]
        if place + 1 < C:
            return y, (place + 1, now, gathered, momentum)
        momentum = plus(gathered, times(plain.sigmoid(memory.drag[h]), momentum))
        offsets = []
        for first, offset, push in zip(A, now, momentum, strict=True):
            new = first + offset + torch.exp(memory.log_step[h]) * orthogonal(push)
            length = torch.sqrt((first**2).sum(1, keepdim=True) / ((new**2).sum(1, keepdim=True) + TINY))
            offsets.append(length * new - first)
        return y, (0, offsets, none_of(A), momentum)

    def attend(h, x, q, k, v, pairs):
        pairs = [*pairs, (k, v)][-C:]
        weights = [
            torch.exp(window.sharpness[h] * (q @ key) + window.bias[h, age])
            for age, (key, _) in enumerate(reversed(pairs))
        ]
        return sum(w / sum(weights) * value for w, (_, value) in zip(weights, reversed(pairs), strict=True)), pairs

    begin_a, step_a = plain.matrix_loop(memory, update, at_rest(memory))
    begin_b, step_b = plain.matrix_loop(window, attend, lambda h: [])

    def step(x, carried):
        (y, a), (seen, b) = step_a(x, carried[0]), step_b(x, carried[1])
        return y + seen, (a, b)

    agrees(memory, lambda: (begin_a(), begin_b()), step)


def short(u):
    return u / torch.sqrt(1 + (u**2).sum())


@BOUNDS
def test_hope(matrix_agrees, plain, bound):
    torch.manual_seed(0)
    C, periods, K = 3, (6, 12), 3
    memory = Hope(2 * K, 2, batch=C, periods=periods, hidden=4, horizons=(3, 30), bound=bound)
    parts = [K, K, 1, 1, K]

    def update(h, given, q, x, z, state):
        place, began, now, levels = state
        A, sigmoid = memory.matrix[h], plain.sigmoid
        own, old = (A + began) @ x, A + began
        k, v = plain.unit(own[:K]), short(old[K : 2 * K] @ z)
        eta = sigmoid(own[2 * K] + memory.rate_bias[h]) / C
        alpha = torch.exp(-plain.softplus(own[2 * K + 1] + memory.fade_bias[h]))
        error = torch.cat([short(part) for part in (old @ v).split(parts)]) - old @ k
        now = alpha * now
        now = now - eta * torch.outer((A + now) @ k, k) + eta * torch.outer(error, k)
        o = (A + now)[-K:] @ q
        after = []
        for n, (period, (offset, gathered)) in enumerate(zip(periods, levels, strict=True)):
            W = plus(cut(memory.networks[h, n], memory.layers), offset)
            at, rate = plain.unit(o), sigmoid(memory.level_bias[h, n]) / period
            slopes = gradient(W, at, v - o, bound)
            o = o + network(W, at)
            gathered = plus(gathered, times(-rate, slopes))
            over = (place + 1) % period == 0
            after.append((plus(offset, gathered), none_of(gathered)) if over else (offset, gathered))
        return o, (place + 1, now if (place + 1) % C == 0 else began, now, after)

    def begin(h):
        zeros = none_of(cut(memory.networks[h, 0], memory.layers))
        return 0, torch.zeros_like(memory.matrix[h]), torch.zeros_like(memory.matrix[h]), [(zeros, zeros)] * 2

    matrix_agrees(memory, update, begin)
