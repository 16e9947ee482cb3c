import importlib
import inspect

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lifelong.kernels.short_conv import short_conv


@pytest.fixture
def triton_form(triton_agrees):
    form = importlib.import_module("lifelong.kernels.short_conv.triton_step").short_conv
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def run(**inputs):
        return tuple(x.cpu() for x in form(**{name: x.to(device) for name, x in inputs.items()}))

    return run


def draw(T, W=4, B=2, D=5, start=None):
    return {
        "x": torch.randn(B, T, D),
        "weight": torch.randn(D, W),
        "state": torch.randn(B, W - 1, D),
        "start": torch.rand(B, T) < 0.2 if start is None else start,
    }


@pytest.mark.parametrize("W", [1, 2, 3, 4])
@pytest.mark.parametrize("T", [1, 2, 3, 15, 16, 17, 63, 64, 65])
def test_one_pass_says_what_the_plain_loop_says(agree, T, W):
    agree("short_conv", draw(T, W))


def test_one_pass_holds_over_five_hundred_steps(agree):
    agree("short_conv", draw(500))


@pytest.mark.parametrize("T", [3, 40])
def test_lives_may_start_anywhere(agree, starts, T):
    agree("short_conv", draw(T, start=starts(2, T)))


def test_single_precision_is_as_good_as_it_can_be(agree):
    agree("short_conv", draw(65), torch.float32)


@pytest.mark.parametrize("W", [1, 2, 3, 4])
@pytest.mark.parametrize("T", [1, 2, 3, 15, 16, 17])
def test_the_kernel_for_the_gpu_says_what_the_plain_loop_says(triton_agrees, T, W):
    triton_agrees("short_conv", draw(T, W))


@pytest.mark.parametrize("T", [63, 64, 65, pytest.param(500, marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="the interpreter takes seconds"))])  # fmt: skip
def test_it_holds_over_many_steps(triton_agrees, T):
    triton_agrees("short_conv", draw(T, B=1))


def test_there_lives_may_start_anywhere_too(triton_agrees, starts):
    triton_agrees("short_conv", draw(20, B=1, start=starts(1, 20)))


@pytest.mark.parametrize("D", [1, 7, 131, 300])
def test_channels_may_be_many_blocks(triton_agrees, agree, D):
    inputs = draw(6, D=D, W=3)
    agree("short_conv", inputs, torch.float32)
    triton_agrees("short_conv", inputs, torch.float32)


def test_memory_need_not_be_contiguous(triton_agrees, agree):
    inputs = draw(6)
    for name in ("x", "weight", "state", "start"):
        inputs[name] = inputs[name].mT.contiguous().mT
    agree("short_conv", inputs)
    triton_agrees("short_conv", inputs)


@pytest.mark.parametrize("T", [1, 6])
@pytest.mark.parametrize("at", ["the window", "an old life"])
def test_an_old_life_is_not_seen_even_where_it_is_not_a_number(forms, triton_form, T, at):
    inputs = draw(T + 2, start=torch.arange(T + 2).expand(2, T + 2) == (0 if at == "the window" else 2))
    wanted = forms("short_conv")["reference"](**inputs)
    spoilt = inputs | {"state": torch.full_like(inputs["state"], torch.nan)}
    first = 0 if at == "the window" else 2
    spoilt["x"] = inputs["x"].clone()
    spoilt["x"][:, :first] = torch.nan
    for form in (*forms("short_conv").values(), triton_form):
        weight = spoilt["weight"].clone().requires_grad_()
        y, window = form(**spoilt | {"weight": weight})
        torch.testing.assert_close(y[:, first:], wanted[0][:, first:])
        torch.testing.assert_close(window, wanted[1])
        if at == "the window":
            assert torch.autograd.grad(y.sum(), weight)[0].isfinite().all()


@pytest.mark.parametrize("backend", ["chunk", "cpu", "triton"])
def test_a_back_end_can_be_asked_for(triton_form, backend):
    inputs = draw(4)
    for x, wanted in zip(short_conv(**inputs, backend=backend), short_conv(**inputs, backend="reference"), strict=True):
        torch.testing.assert_close(x, wanted)


def test_half_precision_comes_out_as_the_plain_loop_has_it(forms, triton_form):
    inputs = draw(8)
    inputs |= {name: inputs[name].bfloat16() for name in ("x", "weight")}
    for x, wanted in zip(triton_form(**inputs), forms("short_conv")["reference"](**inputs), strict=True):
        assert x.dtype == wanted.dtype == torch.float32
        torch.testing.assert_close(x, wanted, rtol=0.02, atol=0.02)


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
    signatures = {str(inspect.signature(form)) for form in forms("short_conv").values()}
    assert len(signatures) == 1
    *same, backend = inspect.signature(short_conv).parameters.values()
    assert same == list(inspect.signature(forms("short_conv")["reference"]).parameters.values())
    assert backend.name == "backend"


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
