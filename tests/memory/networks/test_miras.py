import math

import torch
from torch import nn

from lifelong.kernels.inner_loop.network import split
from lifelong.memory import Memora, Moneta, Yaad


def lived(bare, kind, hidden, first, v):
    """Run three steps of q = k = (1, 0), the last a new life; gates of 0: theta = alpha = 1/2, delta = log 2."""
    memory = bare(kind(2, num_heads=1, hidden=hidden, batch=1))
    memory.gates = nn.Linear(6, memory.gates.out_features).double()
    for p in memory.gates.parameters():
        nn.init.zeros_(p)
    nn.init.ones_(memory.norm_scale)
    split(memory.weights.data, memory.layers)[0][0] = torch.tensor(first).double()
    x = torch.tensor([[[1.0, 0.0, 1.0, 0.0, *v]]]).double().expand(1, 3, 6)
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    torch.testing.assert_close(y[0, 2], y[0, 0])
    return y[0, 0].tolist()


def normed(u):
    """Return LN of (u, -u), u in units of the root of its eps, 1e-2."""
    return u / (1 + u * u) ** 0.5


# The network says 0, its last layer is W_2 = 0. With s the slope of the loss and (-c, c) what is left of it without its
# mean, the normalised step of 1/2 moves z to c / 2 (1, -1) roots of 1e-2, whatever the hidden units are (but large
# enough for the normaliser to count); the residual adds q = (1, 0).


def test_yaad_takes_of_a_great_error_its_direction_only(bare):
    y = lived(bare, Yaad, 1, [[1.0, 0.0]], (4.0, 1.0))
    # e = -(3, 1), of length 10^(1/2), shortened to log 2: c = log 2 / 10^(1/2)
    said = normed(math.log(2) / 10**0.5 / 2)
    torch.testing.assert_close(y, [1 + said, -said], rtol=1e-6, atol=0)


def test_moneta_squares_small_errors_and_holds_great_ones(bare):
    y = lived(bare, Moneta, 1, [[1.0, 0.0]], (1.5, -3.0))
    # e = (-0.5, 3), s = (-0.25, 1), mean 0.375: c = 0.625; the norms of A cancel
    said = normed(0.625 / 2)
    torch.testing.assert_close(y, [1 + said, -said], rtol=1e-6, atol=0)


def test_memora_shifts_weight_between_the_units_of_a_row(bare):
    y = lived(bare, Memora, 2, [[0.0, 0.0], [math.log(3), 0.0]], (4.0, 1.0))
    # W_1 = 2 softmax - 1: (0, 0) and (1/2, -1/2), so h = 0 and silu(1/2); W_2 = 0. e = -(3, 1), c = 1: A_2 moves by
    # u h / |h|^2 and its negative, u = 1/2 root of 1e-2, and 2 softmax(0, a) - 1 = (-tanh(a / 2), tanh(a / 2)).
    h, root = 0.5 / (1 + math.exp(-0.5)), 0.1
    said = normed(h * math.tanh(0.5 * root / h / 2) / root)
    torch.testing.assert_close(y, [1 + said, -said], rtol=1e-6, atol=0)


class Squared(Yaad):
    loss = "l2"


def test_yaad_without_a_limit_is_the_squared_loss():
    torch.manual_seed(0)
    yaad, squared = Yaad(8).double(), Squared(8).double()
    nn.init.constant_(yaad.gates.bias[2:], 1e9)
    same = yaad.state_dict() | {f"gates.{name}": p[:2] for name, p in yaad.gates.state_dict().items()}
    squared.load_state_dict(same)
    x, start = torch.randn(2, 20, 8).double(), torch.rand(2, 20) < 0.1
    torch.testing.assert_close(*(m(x, m.initial_state(2), start)[0] for m in (yaad, squared)))


def test_memora_keeps_its_weights_positive_and_their_sum():
    memory = Memora(8)
    state = memory(100 * torch.randn(1, 99, 8), memory.initial_state(1), torch.zeros(1, 99, dtype=torch.bool))[1]
    moved = state["fast"].abs().max()
    assert moved > 0.01
    for layer in split(memory.weights + state["fast"], memory.layers):
        weights = layer.shape[-1] * layer.softmax(-1)
        assert weights.min() > 0
        torch.testing.assert_close(weights.mean(-1), torch.ones_like(weights[..., 0]))
