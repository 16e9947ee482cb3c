import inspect

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lifelong.kernels.short_conv import short_conv


def draw(T, W=4, B=2, D=5, start=None):
    return {
        "x": torch.randn(B, T, D),
        "weight": torch.randn(D, W),
        "state": torch.randn(B, W - 1, D),
        "start": torch.rand(B, T) < 0.2 if start is None else start,
    }


@pytest.mark.parametrize("W", [1, 2, 4])
@pytest.mark.parametrize("T", [1, 2, 3, 4, 5, 65])
def test_one_pass_says_what_the_plain_loop_says(agree, T, W):
    agree("short_conv", draw(T, W))


def test_one_pass_holds_over_five_hundred_steps(agree):
    agree("short_conv", draw(500))


@pytest.mark.parametrize("T", [3, 40])
def test_lives_may_start_anywhere(agree, starts, T):
    agree("short_conv", draw(T, start=starts(2, T)))


def test_single_precision_is_as_good_as_it_can_be(agree):
    agree("short_conv", draw(65), torch.float32)


@pytest.mark.parametrize("cut", [1, 2, 16])
def test_two_halves_equal_a_whole(agree, cut):
    def in_two(form):
        def run(x, weight, state, start):
            first, state = form(x[:, :cut], weight, state, start[:, :cut])
            second, state = form(x[:, cut:], weight, state, start[:, cut:])
            return torch.cat([first, second], 1), state

        return run

    agree("short_conv", draw(20), through=in_two)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_back_ends_agree_whatever_the_shapes(agree, data):
    size = st.integers(1, 4)
    B, D, W, T = (data.draw(size) for _ in range(4))
    start = torch.tensor(data.draw(st.lists(st.booleans(), min_size=B * T, max_size=B * T))).view(B, T)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    agree("short_conv", draw(T, W, B, D, start))


@pytest.mark.parametrize("T", [1, 3])
def test_the_last_tap_is_the_present_and_a_start_forgets_the_window(T):
    x, state = torch.tensor([1.0, 2.0, 3.0])[:T].view(1, T, 1), torch.tensor([50.0, 70.0]).view(1, 2, 1)
    start = torch.tensor([[False, True, False]])[:, :T]
    y, window = short_conv(x, torch.tensor([[100.0, 10.0, 1.0]]), state, start)
    torch.testing.assert_close(y.flatten(), torch.tensor([5701.0, 2.0, 23.0])[:T])
    torch.testing.assert_close(window.flatten(), torch.tensor([2.0, 3.0] if T == 3 else [70.0, 1.0]))


def test_signatures_are_the_same_everywhere(forms):
    signatures = {str(inspect.signature(form)) for form in (*forms("short_conv").values(), short_conv)}
    assert len(signatures) == 1


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x", (2, 4), r"x must be \[B, T, D\] and weight \[D, W\], got \[2, 4\] and \[5, 4\]"),
        ("weight", (6, 4), r"weight must be \[5, 4\], got \[6, 4\]"),
        ("state", (2, 4, 5), r"state must be \[2, 3, 5\], got \[2, 4, 5\]"),
        ("start", (4, 2), r"start must be \[2, 4\], got \[4, 2\]"),
    ],
)
def test_a_wrong_shape_is_named_with_the_right_one(name, shape, message):
    inputs = draw(4)
    inputs[name] = torch.zeros(shape, dtype=inputs[name].dtype)
    with pytest.raises(ValueError, match=message):
        short_conv(**inputs)


def test_starts_must_be_bool():
    inputs = draw(4)
    inputs["start"] = inputs["start"].float()
    with pytest.raises(ValueError, match=r"start must be bool, got torch\.float32"):
        short_conv(**inputs)
