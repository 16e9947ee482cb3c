import inspect
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lifelong.kernels import jit as compiled
from lifelong.kernels.in_place import in_place
from lifelong.kernels.linear_scan import linear_scan

DECAYS = {
    "of every number": lambda B, T, *axes: (B, T, *axes),
    "of every head": lambda B, T, *axes: (B, T, *axes[:1]),
    "of every step": lambda B, T, *axes: (B, T),
    "constant": lambda B, T, *axes: (1, 1, *axes),
    "constant of all": lambda B, T, *axes: (1, 1),
}


def draw(T, decay="of every number", through=False, B=2, H=3, K=5, start=None):
    """Return inputs with a state [B, H, K]; `through` write and read vectors of width K."""
    return {
        "u": torch.randn(B, T, H) if through else torch.randn(B, T, H, K),
        "decay": -torch.rand(DECAYS[decay](B, T, H, K)),
        "state": torch.randn(B, H, K),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
        "write": torch.randn(B, T, K) if through else None,
        "read": torch.randn(B, T, K) if through else None,
    }


through = pytest.mark.parametrize("through", [False, True], ids=["whole", "read"])


@through
@pytest.mark.parametrize("T", [1, 2, 15, 16, 17, 63, 64, 65])
def test_every_back_end_says_what_the_plain_loop_says(agree, T, through):
    agree("linear_scan", draw(T, through=through))


@through
@pytest.mark.parametrize("decay", DECAYS)
def test_a_decay_may_be_that_of_many_numbers(agree, decay, through):
    agree("linear_scan", draw(20, decay, through))


@through
def test_every_back_end_holds_over_five_hundred_steps(agree, through):
    agree("linear_scan", draw(500, through=through, B=1, H=1))


@pytest.mark.parametrize("axes", [(), (7,), (2, 3, 5)])
def test_a_state_may_have_any_axes(agree, axes):
    inputs = draw(9)
    inputs["u"], inputs["decay"], inputs["state"] = (torch.rand(2, *n, *axes) - 1 for n in ([9], [9], []))
    agree("linear_scan", inputs)


@through
def test_lives_may_start_anywhere(agree, starts, through):
    agree("linear_scan", draw(50, through=through, start=starts(2, 50)))


@pytest.mark.parametrize("log_factor", [0.0, -1e4, -math.inf])
@pytest.mark.parametrize("decay", ["of every number", "of every head"])
@through
def test_a_factor_may_be_exactly_one_or_zero(agree, decay, log_factor, through):
    inputs = draw(33, decay, through)
    inputs["decay"][:, 1::3] = log_factor
    agree("linear_scan", inputs)


@through
def test_single_precision_is_as_good_as_it_can_be(agree, through):
    agree("linear_scan", draw(65, through=through, H=16, K=16), torch.float32)


@pytest.mark.parametrize("cut", [1, 16, 30])
@through
def test_two_halves_equal_a_whole(agree, cut, through):
    def in_two(form):
        def run(state, **steps):
            first, state = form(state=state, **{name: x[:, :cut] for name, x in steps.items()})
            second, state = form(state=state, **{name: x[:, cut:] for name, x in steps.items()})
            return torch.cat([first, second], 1), state

        return run

    agree("linear_scan", draw(40, through=through), through=in_two)


def test_memory_need_not_be_contiguous(agree):
    inputs = draw(20)
    inputs["u"] = inputs["u"].transpose(1, 2).contiguous().transpose(1, 2)
    inputs["decay"] = inputs["decay"][:, :, :1].expand(2, 20, 3, 5)
    inputs["state"] = inputs["state"].mT.contiguous().mT
    agree("linear_scan", inputs)
    inputs = draw(20, through=True)
    inputs["write"] = inputs["read"].transpose(0, 1).contiguous().transpose(0, 1)
    agree("linear_scan", inputs)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_back_ends_agree_whatever_the_shapes(agree, data):
    size = st.integers(1, 4)
    B, H, K = (data.draw(size) for _ in range(3))
    T = data.draw(st.integers(1, 40))
    start = torch.tensor(data.draw(st.lists(st.booleans(), min_size=B * T, max_size=B * T))).view(B, T)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    agree("linear_scan", draw(T, data.draw(st.sampled_from(list(DECAYS))), data.draw(st.booleans()), B, H, K, start))


@through
@pytest.mark.parametrize("decay", DECAYS)
def test_the_compiled_gradients_are_those_of_finite_differences(forms, decay, through):
    inputs = {
        name: x.double().requires_grad_() if x.is_floating_point() else x
        for name, x in draw(19, decay, through, B=1, H=2, K=2).items()
        if x is not None
    }
    names, cpu = list(inputs), forms("linear_scan")["cpu"]
    assert torch.autograd.gradcheck(lambda *x: cpu(**dict(zip(names, x, strict=True))), [*inputs.values()])


@pytest.mark.parametrize("back_end", ["reference", "chunk", "cpu"])
def test_half_is_kept_at_each_step(back_end):
    u, half = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1), torch.full((1, 1), 0.5).log()
    start = torch.tensor([[False, False, True, False]])
    y, state = linear_scan(u, half, torch.full((1, 1), 8.0), start, backend=back_end)
    torch.testing.assert_close(y.flatten(), torch.tensor([5.0, 4.5, 3.0, 5.5]))
    torch.testing.assert_close(state.flatten(), torch.tensor([5.5]))


@pytest.mark.parametrize("back_end", ["reference", "chunk", "cpu"])
def test_what_is_written_along_one_vector_is_read_along_another(back_end):
    u, half, state = torch.tensor([[[2.0]]]), torch.full((1, 1), 0.5).log(), torch.tensor([[[4.0, 8.0]]])
    w, r = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[1.0, 10.0]]])
    y, state = linear_scan(u, half, state, torch.zeros(1, 1).bool(), write=w, read=r, backend=back_end)
    torch.testing.assert_close(state.flatten(), torch.tensor([4.0, 10.0]))
    torch.testing.assert_close(y.flatten(), torch.tensor([104.0]))


def test_a_complex_mode_is_two_real_ones_in_a_frame_that_turns_with_it():
    u, fade, speed = torch.randn(2, 30, 3).double(), -torch.rand(3).double(), torch.rand(3).double()
    start, state = torch.rand(2, 30) < 0.1, torch.randn(2, 3, dtype=torch.complex128)
    h, wanted = state, []
    for t in range(30):
        h = h.masked_fill(start[:, t, None], 0) * torch.exp(torch.complex(fade, speed)) + u[:, t]
        wanted.append(h)
    turn = torch.polar(torch.ones_like(speed), torch.arange(1, 31)[:, None] * speed)  # [T, D]
    y, end = linear_scan(torch.view_as_real(u * turn.conj()), fade[None, None], torch.view_as_real(state), start)
    torch.testing.assert_close(torch.view_as_complex(y) * turn, torch.stack(wanted, 1))
    torch.testing.assert_close(torch.view_as_complex(end) * turn[-1], h)


@pytest.mark.parametrize("back_end", ["chunk", "cpu"])
@through
def test_a_hundred_thousand_steps_do_not_drift(forms, back_end, through):
    inputs = draw(100_000, "constant", through, B=1, H=1, K=2, start=torch.zeros(1, 100_000).bool())
    inputs["decay"] /= 100
    extra = {"chunk": 300} if back_end == "chunk" else {}
    got = forms("linear_scan")[back_end](**inputs, **extra)
    doubled = {name: x.double() if x is not None and x.is_floating_point() else x for name, x in inputs.items()}
    for name, x, wanted in zip(("y", "state"), got, forms("linear_scan")["cpu"](**doubled), strict=True):
        assert (x.double() - wanted).abs().max() <= 1e-4 * wanted.abs().max(), name


@pytest.mark.parametrize("back_end", ["reference", "chunk", "cpu"])
@through
def test_a_broken_life_does_not_reach_the_next(back_end, through):
    inputs = draw(20, through=through, start=torch.arange(20).expand(2, 20) == 9)
    inputs["state"][0], inputs["u"][1, 4] = torch.nan, torch.inf
    u, decay = inputs["u"].requires_grad_(), inputs["decay"].requires_grad_()
    y, state = linear_scan(**inputs, backend=back_end)
    assert not y[:, :9].isfinite().all()
    assert y[:, 9:].isfinite().all()
    assert state.isfinite().all()
    du, ddecay = torch.autograd.grad(y.sum() + state.sum(), [u, decay])
    assert du[:, 9:].isfinite().all()
    assert ddecay[:, 9:].isfinite().all()


@through
@torch.no_grad()
def test_the_state_is_written_over_only_where_it_is_allowed(through):
    inputs = draw(3, through=through)
    before = inputs["state"].clone()
    wanted, after = linear_scan(**inputs, backend="cpu")
    assert torch.equal(inputs["state"], before)
    with in_place():
        y, written = linear_scan(**inputs, backend="cpu")
    assert written.data_ptr() == inputs["state"].data_ptr()
    assert torch.equal(y, wanted)
    assert torch.equal(inputs["state"], after)


@through
def test_threads_share_the_lives_and_change_nothing(agree, monkeypatch, through):
    inputs = draw(20, through=through, B=3)
    threads = torch.get_num_threads()
    monkeypatch.setattr(compiled, "LEAST", 0)
    torch.set_num_threads(2)
    try:
        agree("linear_scan", inputs)
    finally:
        torch.set_num_threads(threads)


def test_signatures_are_the_same_everywhere(forms):
    ways = {name: list(inspect.signature(form).parameters.values()) for name, form in forms("linear_scan").items()}
    public = list(inspect.signature(linear_scan).parameters.values())
    assert ways["chunk"][:-1] == public[:-1]
    assert (ways.pop("chunk")[-1].name, public[-1].name) == ("chunk", "backend")
    assert all(way == public[:-1] for way in ways.values())


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("u", (2,), r"u must be \[B, T, \.\.\.\], got \[2\]"),
        ("state", (2, 5, 3), r"state must be \[2, 3, 5\], got \[2, 5, 3\]"),
        ("start", (4, 2), r"start must be \[2, 4\], got \[4, 2\]"),
        ("decay", (2, 4, 5), r"decay must be \[2, 4\] or \[1, 1\], and then leading axes of the state's \[3, 5\], got"),
        ("decay", (2, 1, 3), r"decay must be \[2, 4\] or \[1, 1\], and then .* got \[2, 1, 3\]"),
        ("decay", (3,), r"decay must be .* got \[3\]"),
    ],
)
def test_a_wrong_shape_is_named_with_the_right_one(name, shape, message):
    inputs = draw(4)
    inputs[name] = torch.zeros(shape, dtype=inputs[name].dtype)
    with pytest.raises(ValueError, match=message):
        linear_scan(**inputs)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("write", (2, 5), r"write must be \[2, 4, N\], got \[2, 5\]"),
        ("write", (2, 3, 5), r"write must be \[2, 4, 5\], got \[2, 3, 5\]"),
        ("read", (2, 4, 6), r"read must be \[2, 4, 5\], got \[2, 4, 6\]"),
        ("state", (2, 3), r"state must be \[2, 3, 5\], got \[2, 3\]"),
    ],
)
def test_a_wrong_shape_of_what_is_written_along_is_named_too(name, shape, message):
    inputs = draw(4, through=True)
    inputs[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        linear_scan(**inputs)


def test_write_and_read_belong_together():
    inputs = draw(4, through=True)
    inputs["read"] = None
    with pytest.raises(ValueError, match="write and read belong together"):
        linear_scan(**inputs)


def test_starts_must_be_bool():
    inputs = draw(4)
    inputs["start"] = inputs["start"].float()
    with pytest.raises(ValueError, match=r"start must be bool, got torch\.float32"):
        linear_scan(**inputs)
