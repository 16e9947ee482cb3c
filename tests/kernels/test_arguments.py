import pytest
import torch

from lifelong.kernels.arguments import examine
from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.linear_scan import linear_scan
from lifelong.kernels.posterior import posterior
from lifelong.kernels.short_conv import short_conv

B, T, H, K, V = 2, 5, 3, 4, 2


def arguments(op):
    keys, values, state = torch.rand(B, T, H, K), torch.rand(B, T, H, V), torch.rand(B, H, V, K)
    gate, start = -torch.rand(B, T, H), torch.zeros(B, T, dtype=torch.bool)
    return {
        fast_weight: {"q": keys, "k": keys, "v": values, "state": state, "start": start, "decay": gate, "rate": -gate},
        posterior: {"q": keys, "k": keys, "w": values, "b": values, "evidence": state, "importance": state,
                    "start": start, "prior": torch.ones(H), "decay": gate},
        linear_scan: {"u": values, "decay": gate, "state": state[..., 0], "start": start},
        short_conv: {"x": values[:, :, 0], "weight": torch.rand(V, 2), "state": torch.rand(B, 1, V), "start": start},
    }[op]  # fmt: skip


CASES = [(op, name) for op in (fast_weight, posterior, linear_scan, short_conv) for name in arguments(op)]


@pytest.mark.parametrize(("op", "name"), CASES, ids=lambda x: getattr(x, "__name__", x))
def test_a_tensor_on_another_device_is_named(op, name):
    given = arguments(op)
    given[name] = given[name].to("meta")
    other = "cpu" if name == next(iter(given)) else "meta"
    with pytest.raises(ValueError, match=rf"must be on the device of \w+, (cpu|meta), got {other}"):
        op(**given)


@pytest.mark.parametrize(("op", "name"), [case for case in CASES if case[1] != "start"],
                         ids=lambda x: getattr(x, "__name__", x))  # fmt: skip
def test_a_tensor_of_another_dtype_is_named_with_both(op, name):
    given = arguments(op)
    given[name] = given[name].half()
    with pytest.raises(ValueError, match=r"\w+ must be torch\.float(16|32) as \w+ is, got torch\.float(16|32)"):
        op(**given)


def test_a_state_may_be_wider_than_what_is_written_and_never_narrower():
    half, wide = torch.ones(2, dtype=torch.bfloat16), torch.ones(2)
    examine({"q": half, "state": wide})
    with pytest.raises(ValueError, match=r"^state must be torch\.float32 as q is, got torch\.bfloat16$"):
        examine({"q": wide, "state": half})


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    ("op", "name", "place", "where"),
    [
        (fast_weight, "decay", (1, 2, 0), "life 1, step 2, head 0"),
        (fast_weight, "rate", (0, 4, 2), "life 0, step 4, head 2"),
        (fast_weight, "state", (1, 2, 0, 3), "life 1, head 2, row 0, column 3"),
        (posterior, "b", (1, 0, 1, 1), "life 1, step 0, head 1, channel 1"),
        (linear_scan, "decay", (1, 2, 2), "life 1, step 2, head 2"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_in_debug_mode_the_first_number_that_is_not_finite_is_named(op, name, place, where, value, monkeypatch):
    given = arguments(op)
    given[name] = given[name].clone()
    given[name][place] = value
    op(**given)  # it costs nothing unless it is asked for
    monkeypatch.setenv("LIFELONG_DEBUG", "1")
    with pytest.raises(ValueError, match=f"^{name} must be finite, got {value} at {where}$"):
        op(**given)


def test_a_factor_of_zero_is_finite_enough(monkeypatch):
    monkeypatch.setenv("LIFELONG_DEBUG", "1")
    given = arguments(fast_weight)
    given["decay"] = torch.full_like(given["decay"], -torch.inf)
    y, _ = fast_weight(**given)
    assert y.isfinite().all()
