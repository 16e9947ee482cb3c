import inspect

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn.functional import normalize

from lifelong.kernels.in_place import in_place
from lifelong.kernels.log_linear import log_linear
from lifelong.kernels.log_linear.cpu_step import log_linear as compiled
from lifelong.kernels.log_linear.reference import log_linear as reference


def draw(T, rule="delta", levels=4, B=2, H=2, K=3, V=4, start=None, lived=20):
    return {
        "q": torch.randn(B, T, H, K),
        "k": normalize(torch.randn(B, T, H, K), dim=-1),
        "v": torch.randn(B, T, H, V),
        "rate": torch.rand(B, T, H),
        "decay": -torch.rand(B, T, H),
        "scale": torch.rand(B, T, H, levels),
        "state": torch.randn(B, H, levels, V, K),
        "count": torch.randint(lived, (B, 1)) + 1,
        "start": torch.rand(B, T) < 0.1 if start is None else start,
    }, {"rule": rule}


@pytest.fixture(scope="session")
def forms_agree(agree):
    def compare(drawn, dtype=torch.float64):
        tensors, fixed = drawn
        agree("log_linear", tensors, dtype, fixed=fixed)

    return compare


@pytest.mark.parametrize("rule", ["delta", "additive"])
@pytest.mark.parametrize("T", [1, 2, 63, 64, 65, 150])
def test_chunks_say_what_the_plain_loop_says(forms_agree, T, rule):
    forms_agree(draw(T, rule))


@pytest.mark.parametrize("levels", [1, 2, 12, 40])
def test_any_number_of_levels(forms_agree, levels):
    forms_agree(draw(70, levels=levels))


@pytest.mark.parametrize("T", [3, 70])
def test_lives_may_start_anywhere(forms_agree, starts, T):
    forms_agree(draw(T, start=starts(2, T)))


def test_long_lives_and_equal_keys(forms_agree):
    tensors, fixed = draw(70, levels=12, lived=10**9)
    tensors["k"] = tensors["k"][:, :1].expand_as(tensors["k"])
    forms_agree((tensors, fixed))


def test_single_precision_is_as_good_as_it_can_be(forms_agree):
    forms_agree(draw(70), torch.float32)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_forms_agree_whatever_the_shapes(forms_agree, data):
    B, H, K, V, T, levels = (data.draw(st.integers(1, 4)) for _ in range(6))
    start = torch.tensor(data.draw(st.lists(st.booleans(), min_size=B * T, max_size=B * T))).view(B, T)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    forms_agree(draw(T, data.draw(st.sampled_from(["delta", "additive"])), levels, B, H, K, V, start))


def test_where_a_write_goes(forms):
    one = torch.ones(1, 7, 1, 1)
    tensors = {
        "q": one, "k": one, "v": torch.arange(1.0, 8.0).view(1, 7, 1, 1), "rate": one[..., 0], "decay": 0 * one[..., 0],
        "scale": torch.tensor([1.0, 10.0, 100.0]).expand(1, 7, 1, 3), "state": torch.zeros(1, 1, 3, 1, 1),
        "count": torch.zeros(1, 1, dtype=torch.int64), "start": torch.tensor([[False] * 6 + [True]]),
    }  # fmt: skip
    # levels: 1;  2, 1;  3, -, 1+2;  4, 3, 1+2;  5, -, 1+2+3+4;  6, 5, 1+2+3+4: the last level keeps all;  a new life: 7
    for form in forms("log_linear").values():
        y, state, count = form(**tensors, rule="additive")
        torch.testing.assert_close(y.flatten(), torch.tensor([1.0, 12.0, 303.0, 334.0, 1005.0, 1056.0, 7.0]))
        torch.testing.assert_close(state.flatten(), torch.tensor([7.0, 0.0, 0.0]))
        assert count.item() == 1


def test_signatures_are_the_same_everywhere(forms):
    assert len({str(inspect.signature(form)) for form in (*forms("log_linear").values(), log_linear)}) == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("q", torch.zeros(2, 4, 3), r"q must be \[B, T, H, K\], got \[2, 4, 3\]"),
        ("state", torch.zeros(2, 2, 4, 3), r"state must be \[B, H, L, V, K\], got \[2, 2, 4, 3\]"),
        ("scale", torch.zeros(2, 4, 2, 3), r"scale must be \[2, 4, 2, 4\], got \[2, 4, 2, 3\]"),
        ("count", torch.zeros(2, 1), r"count must be int64, got torch.float32"),
        ("start", torch.zeros(2, 4), r"start must be bool, got torch.float32"),
        ("rule", "sum", r"rule must be 'delta' or 'additive', got 'sum'"),
    ],
)
def test_what_does_not_fit_is_named(name, value, message):
    tensors, fixed = draw(4)
    with pytest.raises(ValueError, match=message):
        log_linear(**tensors | fixed | {name: value})


@pytest.mark.parametrize("rule", ["delta", "additive"])
@pytest.mark.parametrize("levels", [1, 2, 4, 9])
@torch.no_grad()
def test_compiled_steps_say_what_the_plain_loop_says_of_every_step_and_state(levels, rule):
    inputs, fixed = draw(40, rule, levels)
    inputs = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
    inputs["state"], inputs["count"] = torch.zeros_like(inputs["state"]), torch.zeros_like(inputs["count"])
    wanted = reference(**inputs, **fixed)
    state, count, ys = inputs["state"], inputs["count"], []
    for t in range(40):
        now = {name: x[:, t : t + 1] for name, x in inputs.items() if name not in ("state", "count")}
        y, state, count = compiled(**now, state=state, count=count, **fixed)
        ys.append(y)
    for got, want in zip((torch.cat(ys, 1), state, count), wanted, strict=True):
        torch.testing.assert_close(got, want)


@torch.no_grad()
def test_a_step_writes_the_levels_in_place_only_where_that_is_allowed():
    inputs, _ = draw(1)
    before = inputs["state"].clone()
    wanted = log_linear(**inputs)
    assert torch.equal(inputs["state"], before)
    with in_place():
        got = log_linear(**inputs)
    assert got[1].data_ptr() == inputs["state"].data_ptr()
    for x, want in zip(got, wanted, strict=True):
        assert torch.equal(x, want)
