import math

import pytest
import torch
from torch import nn

from lifelong.memory import Hope

NEVER = -99.0
X = torch.tensor([[[1.0, 1.0, 0.75]]]).double().expand(1, 4, 3)  # q, x, z
THEN_A_NEW_LIFE = torch.tensor([[False, False, False, True]])


def short(u):
    return u / (1 + u * u) ** 0.5


def scalar(bare, **options):
    """Return a Hope with a matrix of five numbers, 1 for key, value and memory; gates of 0: eta = alpha = 1/2."""
    memory = bare(Hope(1, num_heads=1, **options))
    memory.matrix.data[0, [0, 1, 4], 0] = 1.0
    return memory


def test_it_erases_half_and_writes_half_of_its_own_error(bare):
    memory = scalar(bare, batch=1, periods=(8,), hidden=1)
    y, state = memory(X, memory.initial_state(1), THEN_A_NEW_LIFE)
    # v = short(0.75) = 0.6; the target short(0.6) is 1 too low: 1 - 1/2 + (short(0.6) - 1) / 2
    first = short(0.6) / 2
    # the same again, where all three numbers are what came out: half of the way back to 1, half of that, and the error
    half = (1 + first) / 2
    second = half / 2 + (short(first * short(first * 0.75)) - first) / 2
    torch.testing.assert_close(y[0, [0, 1, 3], 0].tolist(), [first, second, first], rtol=1e-4, atol=0)  # unit()'s eps
    torch.testing.assert_close(1 + state["fast"][0, 0, 4, 0].item(), first, rtol=1e-4, atol=0)


def test_a_network_learns_at_the_end_of_its_period_what_the_matrix_leaves(bare):
    memory = scalar(bare, batch=1, periods=(2,), hidden=1)
    nn.init.constant_(memory.rate_bias, NEVER), nn.init.constant_(memory.fade_bias, NEVER)  # the matrix stays 1
    memory.networks.data[0, 0, 0] = 1.0  # W_1 = 1, W_2 = 0
    y, state = memory(X, memory.initial_state(1), THEN_A_NEW_LIFE)
    # it should say 0.6 - 1 and says 0: twice 1/2 / 2 of -0.4, times the unit h = silu(1);  h^2 < 1, no normaliser
    h = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(y.flatten().tolist(), [1.0, 1.0, 1 - 0.2 * h * h, 1.0], rtol=1e-4, atol=0)
    assert state["age"].item() == 1


def test_each_level_waits_for_its_own_period():
    memory = Hope(8, batch=2, periods=(2, 8))
    state, moved = memory.initial_state(1), []
    for _ in range(8):
        before = state
        _, state = memory.step(torch.randn(1, 8), state, torch.tensor([False]))
        moved.append([not torch.equal(state[level], before[level]) for level in ("level_0", "level_1")])
    assert [fast for fast, _ in moved] == [False, True] * 4
    assert [slow for _, slow in moved] == [False] * 7 + [True]
    assert not state["gathered_0"].any()
    assert not state["gathered_1"].any()


@pytest.mark.parametrize("periods", [(), (12,), (16, 24)])
def test_periods_that_do_not_fit_are_refused(periods):
    with pytest.raises(ValueError, match=r"periods must be multiples, each of the one before: batch=8, periods="):
        Hope(8, periods=periods)
