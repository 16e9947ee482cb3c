import math

import pytest
import torch
from torch import nn

from lifelong.memory import MEMORIES, GatedDelta, Hybrid, MemoryAsContext, Series, Window, check_memory, make_memory


class Times(nn.Module):
    """Stub of a memory's linear map: a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def controls(made):
    """Replace the two memories by 4 x and 8 x."""
    made.a.linear, made.b.linear = Times(4.0), Times(8.0)
    return made.double()


X = torch.tensor([[1.0, 1.0, -2.0]]).double()
NEVER = torch.tensor([False])


def test_each_channel_chooses_between_the_two():
    made = controls(Hybrid(3, a="none", b="none"))
    nn.init.zeros_(made.gate.weight)
    made.gate.bias.data = torch.tensor([0.0, math.log(3), -math.log(3)]).double()  # half, three quarters, one quarter
    y, _ = made.step(X, made.initial_state(1), NEVER)
    # 4/2 + 8/2 = 6;  3/4 of 4 + 1/4 of 8 = 5;  1/4 of -8 + 3/4 of -16 = -14
    torch.testing.assert_close(y, torch.tensor([[6.0, 5.0, -14.0]]).double())


def test_a_sum_has_no_gate():
    made = controls(Hybrid(3, a="none", b="none", mix="sum"))
    torch.testing.assert_close(made.step(X, made.initial_state(1), NEVER)[0], 12 * X)
    assert made.gate is None


def test_in_a_series_the_second_sees_the_input_and_the_first_ones_reading():
    made = controls(Series(3, a="none", b="none"))
    # x + 4 x = (5, 5, -10), of mean square 150 / 3 = 50;  8 times that over its root
    want = 8 * torch.tensor([[5.0, 5.0, -10.0]]).double() / 50**0.5
    torch.testing.assert_close(made.step(X, made.initial_state(1), NEVER)[0], want, rtol=1e-5, atol=0)  # the norm's eps


def test_a_hybrid_with_its_gate_shut_is_the_other_memory():
    torch.manual_seed(0)
    made = Hybrid(8).double()
    made.gate.bias.data.fill_(-1e3)
    x, start = torch.randn(2, 9, 8, dtype=torch.double), torch.rand(2, 9) < 0.2
    y, state = made(x, made.initial_state(2), start)
    alone, state_b = made.b(x, made.b.initial_state(2), start)
    torch.testing.assert_close(y, alone)
    assert (state["b"] == state_b).all()


def test_the_two_are_made_by_name_and_with_options():
    made = make_memory("hybrid", 8, a="gru", b="window", b_options={"cache": 5})
    assert type(made.a) is type(make_memory("gru", 8))
    assert made.b.cache == 5
    assert made.state_bytes == made.a.state_bytes + made.b.state_bytes


def test_or_handed_over():
    a, b = GatedDelta(8), Window(8)
    made = Series(8, a, b)
    assert (made.a, made.b) == (a, b)


@pytest.mark.parametrize("kind", [Hybrid, Series])
@pytest.mark.parametrize(("a", "b"), [("none", "gru"), ("palimpsa", "none"), ("none", "none"), ("hybrid", "lstm")])
def test_any_two_keep_the_contract(kind, a, b):
    check_memory(kind(8, a, b), steps=6, long_life=1000)


@pytest.mark.parametrize(
    ("name", "kind", "inner"),
    [("titans_mag", Hybrid, "a"), ("titans_mal", Series, "a"), ("titans_mac", MemoryAsContext, "inner")],
)
def test_titans_three_ways_take_any_memory_in_its_place(name, kind, inner):
    assert MEMORIES[name].options == {inner: "titans"}
    made = make_memory(name, 8, **{inner: "gated_delta"})
    assert isinstance(made, kind)
    assert isinstance(getattr(made, inner), GatedDelta)


def test_memories_of_other_widths_are_refused():
    with pytest.raises(ValueError, match="one width: width=8, Window has 4"):
        Hybrid(8, b=Window(4))
    with pytest.raises(ValueError, match="one width: width=8, Window has 4"):
        MemoryAsContext(8, Window(4))


def test_options_without_a_name_are_refused():
    with pytest.raises(ValueError, match=r"options go with a memory's name, got \{'cache': 3\} for a Window"):
        Hybrid(8, b=Window(8), b_options={"cache": 3})


def test_a_mix_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="mix must be 'gate' or 'sum', got 'product'"):
        Hybrid(8, mix="product")
