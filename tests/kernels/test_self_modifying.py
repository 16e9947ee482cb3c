import inspect

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lifelong.kernels.self_modifying import self_modifying


def draw(T, batch=4, B=2, H=2, K=3, start=None):
    R = 3 * K + 2
    return {
        "q": torch.randn(B, T, H, K),
        "x": torch.randn(B, T, H, K),
        "z": torch.randn(B, T, H, K),
        "matrix": torch.randn(H, R, K),
        "frozen": 0.3 * torch.randn(B, H, R, K),
        "fast": 0.3 * torch.randn(B, H, R, K),
        "rate_bias": torch.randn(H),
        "fade_bias": torch.randn(H),
        "phase": torch.randint(batch, (B, 1)),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
    }, {"batch": batch}


@pytest.fixture(scope="session")
def forms_agree(agree):
    def compare(drawn, dtype=torch.float64):
        tensors, fixed = drawn
        agree("self_modifying", tensors, dtype, fixed=fixed)

    return compare


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("T", [1, 2, 7, 33])
def test_mini_batches_say_what_the_plain_loop_says(forms_agree, T, batch):
    forms_agree(draw(T, batch))


@pytest.mark.parametrize("T", [3, 40])
def test_lives_may_start_anywhere(forms_agree, starts, T):
    forms_agree(draw(T, start=starts(2, T)))


def test_single_precision_is_as_good_as_it_can_be(forms_agree):
    forms_agree(draw(33), torch.float32)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_forms_agree_whatever_the_shapes(forms_agree, data):
    B, H, K, T, batch = (data.draw(st.integers(1, 4)) for _ in range(5))
    start = torch.tensor(data.draw(st.lists(st.booleans(), min_size=B * T, max_size=B * T))).view(B, T)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    forms_agree(draw(T, batch, B, H, K, start))


@pytest.mark.parametrize("cut", [1, 3, 10])
def test_two_halves_equal_a_whole(forms, cut):
    tensors, fixed = draw(14)
    tensors = {n: x.double() if x.is_floating_point() else x for n, x in tensors.items()}
    for form in forms("self_modifying").values():
        whole = form(**tensors, **fixed)
        parts, state = [], {}
        for part in (slice(None, cut), slice(cut, None)):
            given = {n: x[:, part] if n in {"q", "x", "z", "start"} else x for n, x in tensors.items()}
            y, v, *after = form(**given | state, **fixed)
            state = dict(zip(("frozen", "fast", "phase"), after, strict=True))
            parts.append(torch.stack([y, v]))
        torch.testing.assert_close((*torch.cat(parts, 2), *after), whole)


def test_numbers_by_hand(forms):
    # One channel; M_k = M_v = M_memory = 1, gates of 0: eta = alpha = 1/2. q = x = 1, z = 3/4: k = 1, v = 3/5.
    number = torch.ones(1, 2, 1, 1).double()
    matrix = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0]).double().view(1, 5, 1)
    zero = torch.zeros(1, 1, 5, 1).double()
    tensors = {
        "q": number, "x": number, "z": 0.75 * number, "matrix": matrix, "frozen": zero, "fast": zero,
        "rate_bias": torch.zeros(1).double(), "fade_bias": torch.zeros(1).double(),
        "phase": torch.zeros(1, 1, dtype=torch.int64), "start": torch.tensor([[False, True]]),
    }  # fmt: skip
    # The target is short(3/5) = 0.6 / sqrt(1.36); M = 1 - 1/2 + (target - 1) / 2 = target / 2.
    said = 0.6 / 1.36**0.5 / 2
    for form in forms("self_modifying").values():
        y, v, frozen, fast, phase = form(**tensors, batch=1)
        torch.testing.assert_close(y.flatten().tolist(), [said, said], rtol=1e-5, atol=0)  # the eps of unit length
        torch.testing.assert_close(v.flatten().tolist(), [0.6, 0.6])
        torch.testing.assert_close(1 + fast[0, 0, 4, 0].item(), said, rtol=1e-5, atol=0)
        assert torch.equal(frozen, fast)
        assert phase.item() == 0


def test_signatures_are_the_same_everywhere(forms):
    assert len({str(inspect.signature(form)) for form in (*forms("self_modifying").values(), self_modifying)}) == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("q", torch.zeros(2, 4, 3), r"q must be \[B, T, H, K\], got \[2, 4, 3\]"),
        ("matrix", torch.zeros(2, 9, 3), r"matrix must be \[2, 11, 3\], got \[2, 9, 3\]"),
        ("phase", torch.zeros(2, 1), r"phase must be int64, got torch.float32"),
        ("start", torch.zeros(2, 4), r"start must be bool, got torch.float32"),
        ("batch", 0, r"batch must be positive: batch=0"),
    ],
)
def test_what_does_not_fit_is_named(name, value, message):
    tensors, fixed = draw(4)
    with pytest.raises(ValueError, match=message):
        self_modifying(**tensors | fixed | {name: value})
