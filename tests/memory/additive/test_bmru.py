import pytest
import torch
from torch import nn

from lifelong.memory import BMRU


def stripped(low, high, level):
    """Set the band and the level of one unit, and candidate and output to x and h."""
    memory = BMRU(1)
    nn.init.ones_(memory.candidate.weight)
    nn.init.ones_(memory.output.weight)
    nn.init.zeros_(memory.candidate.bias)
    nn.init.zeros_(memory.output.bias)
    memory.centre.data.fill_((low + high) / 2)
    memory.half_width.data = torch.tensor([(high - low) / 2]).expm1().log()
    memory.level.data.fill_(level)
    return memory.double()


def lived(memory, *values, start=None):
    x = torch.tensor(values).double()[None, :, None]
    begins = torch.tensor([[step == start for step in range(len(values))]])
    return memory(x, memory.initial_state(1), begins)[0].flatten().tolist()


def test_a_unit_is_set_above_the_band_cleared_below_it_and_holds_between():
    memory = stripped(1.0, 3.0, level=7.0)
    assert lived(memory, 2.0, 4.0, 2.0, 2.9, 1.1, 0.5, 2.0, 4.0, 2.0, start=8) == [0, 7, 7, 7, 7, 0, 0, 7, 0]


def test_what_is_below_zero_is_zero():
    assert lived(stripped(0.5, 1.0, level=2.0), 5.0, -5.0) == [2, 0]


def test_it_holds_over_ten_thousand_steps_to_the_last_bit():
    torch.manual_seed(0)
    memory = BMRU(8)
    quiet = torch.zeros(1, 10_000, 8)  # candidates are 1 there, the middle of every band
    never = torch.zeros(1, 10_000, dtype=torch.bool)
    with torch.no_grad():
        _, held = memory(4 * torch.randn(1, 50, 8), memory.initial_state(1), never[:, :50])
        _, after = memory(quiet, held, never)
    assert 0 < held["h"].count_nonzero() < 8
    assert after["h"].equal(held["h"])


def test_gradients_pass_a_unit_that_holds_unchanged():
    memory = stripped(1.0, 3.0, level=7.0)
    state = memory.initial_state(1)
    state["h"].requires_grad_()
    y, _ = memory(torch.full((1, 100, 1), 2.0).double(), state, torch.zeros(1, 100, dtype=torch.bool))
    assert torch.autograd.grad(y[0, -1], state["h"])[0].item() == 1


def test_the_gradient_of_a_threshold_is_one_where_it_is_met():
    memory = stripped(0.0, 2.0, level=1.0)
    x = torch.full((1, 1, 1), 2.0).double().requires_grad_()
    y, _ = memory(x, memory.initial_state(1), torch.tensor([[False]]))
    y.backward()
    assert x.grad.item() == pytest.approx(1.0)  # d y / d above = level - h = 1; the lower threshold finds h = 0


def test_all_steps_at_once_have_the_numbers_and_the_gradients_of_one_at_a_time():
    torch.manual_seed(0)
    memory = BMRU(5).double()
    x, start = torch.randn(3, 37, 5).double().requires_grad_(), torch.rand(3, 37) < 0.1
    first = torch.rand(3, 5).double().requires_grad_()
    weight, inputs = torch.randn(3, 37, 5).double(), (x, first, *memory.parameters())
    state, ys = memory.initial_state(3).double().set("h", first), []
    for t in range(37):
        y, state = memory(x[:, t : t + 1], state, start[:, t : t + 1])
        ys.append(y)
    loop = torch.autograd.grad((torch.cat(ys, 1) * weight).sum() + state["h"].sum(), inputs)
    y, end = memory(x, memory.initial_state(3).double().set("h", first), start)
    assert y.equal(torch.cat(ys, 1))
    assert end["h"].equal(state["h"])
    torch.testing.assert_close(torch.autograd.grad((y * weight).sum() + end["h"].sum(), inputs), loop)


def test_second_derivatives_are_refused():
    memory = BMRU(3)
    x, state, never = torch.randn(1, 2, 3, requires_grad=True), memory.initial_state(1), torch.tensor([[False] * 2])
    with pytest.raises(RuntimeError, match="create_graph=True: a hard step has a surrogate gradient"):
        torch.autograd.grad(memory(x, state, never)[0].square().sum(), x, create_graph=True)
    slope = torch.func.grad(lambda x: memory(x, state, never)[0].square().sum())
    assert slope(x.detach()).any()
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.func.grad(lambda x: slope(x).square().sum())(x.detach())


def test_no_units_are_refused():
    with pytest.raises(ValueError, match="hidden must be positive: hidden=0"):
        BMRU(8, hidden=0)
