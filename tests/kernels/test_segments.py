import pytest
import torch

from lifelong.kernels.segments import decay_between, life_start_steps, masked_exp, pad_time, visible

START = torch.tensor([False, True, False])


def test_a_step_sees_its_own_life_up_to_itself():
    pairs, carried, kept = visible(START)
    assert pairs.tolist() == [[True, False, False], [False, True, False], [False, True, True]]
    assert carried.tolist() == [True, False, False]
    assert kept.tolist() == [False, True, True]


def test_without_starts_all_that_is_past_is_seen():
    pairs, carried, kept = visible(torch.zeros(2, 4, dtype=torch.bool))
    assert torch.equal(pairs, torch.ones(2, 4, 4).tril().bool())
    assert carried.all()
    assert kept.all()


def test_lives_from_before_the_pass_began_at_negative_steps():
    start = torch.tensor([[False, False, True, False], [True, False, False, True], [False] * 4])
    began = life_start_steps(torch.tensor([[3], [5], [0]]), start)
    assert began.tolist() == [[-3, -3, 2, 2], [0, 0, 0, 3], [0, 0, 0, 0]]


@pytest.mark.parametrize(("T", "chunks"), [(1, 1), (3, 1), (4, 1), (5, 2)])
def test_time_is_padded_at_its_end_and_cut(T, chunks):
    x = torch.arange(1.0, T + 1)[None, :, None]
    cut = pad_time(x, 4, value=-1.0)
    assert cut.shape == (1, chunks, 4, 1)
    assert cut.flatten().tolist() == [*range(1, T + 1), *[-1] * (4 * chunks - T)]


def test_what_is_masked_is_zero_and_so_is_its_gradient():
    exponent = torch.tensor([0.0, 1e4, torch.inf, -1e4], requires_grad=True)
    masked_exp(exponent, torch.tensor([True, False, False, True])).sum().backward()
    assert masked_exp(exponent, torch.zeros(4, dtype=torch.bool)).tolist() == [0.0] * 4
    assert exponent.grad.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_a_write_decays_by_every_factor_after_it_within_its_life():
    total = torch.tensor([0.5, 0.25, 0.5]).log().cumsum(0)
    left = decay_between(total, visible(START)[0])
    torch.testing.assert_close(left, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 1.0]]))


def test_a_very_strong_decay_leaves_the_steps_after_it_exact():
    total = torch.tensor([-1.0, -1e4, -1.0]).cumsum(0)
    left = decay_between(total, visible(torch.zeros(3, dtype=torch.bool))[0])
    assert left[1:, 0].tolist() == [0.0, 0.0]
    assert left.diagonal().tolist() == [1.0] * 3
