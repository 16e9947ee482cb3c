import pytest
import torch
from torch import nn

from lifelong.memory import TTTMLP, TTTLinear


def test_a_repeated_step_counts_once_in_its_mini_batch(bare):
    memory = bare(TTTLinear(2, num_heads=1, batch=2))
    memory.gates = nn.Linear(6, 1).double()
    for p in memory.gates.parameters():
        nn.init.zeros_(p)  # theta = 1/2
    nn.init.ones_(memory.norm_scale)
    x = torch.tensor([[[2.0, 0.0, 5.0, 0.0, 4.0, 1.0]]]).double().expand(1, 3, 6)  # q = k = (1, 0), v = (4, 1)
    y, state = memory(x, memory.initial_state(1), torch.tensor([[False, False, True]]))
    # The network should say v - k = (3, 1) and says 0: e = (-3, -1), less its mean (-1, 1), over the root of 1e-2.
    # The normaliser is |(1, 0, 1)|^2 / 1e-2 = 200, so a step of 1/2 moves z = W (1, 0, 1) to
    # 1/2 * 2 * 10 / 200 (1, -1) = 0.05 (1, -1), and LN(z) = (1, -1) 0.05 / sqrt(0.0025 + 0.01) = (1, -1) / sqrt(5).
    # The second step adds the same, and half of both counts;  the third is a new life.
    said = 1 / 5**0.5
    torch.testing.assert_close(
        y[0], torch.tensor([[1 + said, -said]], dtype=torch.double).expand(3, 2), rtol=1e-9, atol=0
    )
    assert state["phase"].item() == 1


def test_a_raw_gradient_goes_as_far_as_the_norm_is_steep(bare):
    memory = bare(TTTLinear(2, num_heads=1, batch=2, bound="off"))
    memory.gates = nn.Linear(6, 1).double()
    for p in memory.gates.parameters():
        nn.init.zeros_(p)  # theta = 1/2 / K = 1/4
    nn.init.ones_(memory.norm_scale)
    x = torch.tensor([[[2.0, 0.0, 5.0, 0.0, 4.0, 1.0]]]).double()  # q = k = (1, 0), v = (4, 1)
    y, _ = memory(x, memory.initial_state(1), torch.zeros(1, 1, dtype=torch.bool))
    # v - k = (3, 1) and it says 0: e = (-3, -1), less its mean (-1, 1), over the root of 1e-2: gradient (-10, 10).
    # z = 1/4 * 10 |(1, 0, 1)|^2 (1, -1) = 5 (1, -1), and LN(z) = (5, -5) / sqrt(25.01)
    said = 5 / 25.01**0.5
    torch.testing.assert_close(y.flatten(), torch.tensor([1 + said, -said]).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", [TTTLinear, TTTMLP])
def test_pairs_that_come_again_are_learned(bare, kind):
    torch.manual_seed(0)
    memory = kind(4, num_heads=1)
    slow = memory.weights.detach().double()
    memory = bare(memory)
    memory.weights.data, memory.norm_scale.data[:] = slow, 1.0
    memory.gates = nn.Linear(12, 1).double()
    nn.init.zeros_(memory.gates.weight), nn.init.constant_(memory.gates.bias, 2.0)
    k, wanted = torch.eye(4).double(), torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1], [-1, 1, 1, -1]])
    pairs = torch.cat([k, k, k + wanted], -1)  # what the network should say has mean 0 and size 1: a norm can say it
    y, _ = memory(pairs.repeat(1000, 1)[None], memory.initial_state(1), torch.zeros(1, 4000, dtype=torch.bool))
    error = (y[0] - pairs[:, 8:].repeat(1000, 1)).norm(dim=-1)
    assert error[-4:].max() < error[:4].max() / 5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"base": 3.0}, r"base must be in \(0, 2\].*base=3"), ({"batch": 0}, "batch must be positive: batch=0")],
)
def test_rates_and_mini_batches_have_bounds(options, message):
    with pytest.raises(ValueError, match=message):
        TTTMLP(8, **options)


def test_the_slow_weights_learn_from_a_life_that_began_long_ago():
    memory = TTTLinear(8)
    x, never = torch.randn(1, 5, 8), torch.zeros(1, 5, dtype=torch.bool)
    state = memory(x, memory.initial_state(1), never)[1].detach()
    memory(x, state, never)[0].sum().backward()
    assert memory.weights.grad.abs().min() > 0
