import inspect

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn.functional import normalize

from lifelong.kernels import jit as compiled
from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.in_place import in_place

DECAYS = {"none": lambda B, T, H, K: None, "head": lambda *s: -torch.rand(s[:3]), "channel": lambda *s: -torch.rand(s)}


def draw(T, decay="head", erase="k", B=2, H=2, K=5, V=3, start=None):
    k = normalize(torch.randn(B, T, H, K), dim=-1)
    return {
        "q": torch.randn(B, T, H, K),
        "k": k,
        "v": torch.randn(B, T, H, V),
        "state": torch.randn(B, H, V, K),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
        "decay": DECAYS[decay](B, T, H, K),
        "erase": 1.5 * torch.rand(B, T, H, 1) * k if erase in ("k", "erase_key") else None,
        "erase_key": normalize(torch.randn(B, T, H, K), dim=-1) if erase == "erase_key" else None,
        "rate": 1.5 * torch.rand(B, T, H) if erase == "rate" else None,
    }


@pytest.mark.parametrize("erase", ["none", "k", "erase_key", "rate"])
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("T", [1, 2, 15, 16, 17, 63, 64, 65])
def test_every_back_end_says_what_the_plain_loop_says(agree, T, decay, erase):
    agree("fast_weight", draw(T, decay, erase))


def test_every_back_end_holds_over_five_hundred_steps(agree):
    agree("fast_weight", draw(500, B=1, H=1))


@pytest.mark.parametrize("decay", ["head", "channel"])
def test_lives_may_start_anywhere(agree, starts, decay):
    agree("fast_weight", draw(50, decay, "erase_key", start=starts(2, 50)))


@pytest.mark.parametrize("log_factor", [0.0, -1e4])
@pytest.mark.parametrize("decay", ["head", "channel"])
def test_a_factor_may_be_exactly_one_or_zero(agree, decay, log_factor):
    inputs = draw(33, decay)
    inputs["decay"][:, 1::3] = log_factor
    agree("fast_weight", inputs)


@pytest.mark.parametrize("beta", [0.99, 1.9])
def test_keys_that_repeat_cost_no_digits(agree, beta):
    inputs = draw(128, "none", K=32, V=8, start=torch.zeros(2, 128, dtype=torch.bool))
    inputs["k"] = inputs["k"][:, :1].expand_as(inputs["k"]).clone()
    inputs["erase"] = beta * inputs["k"]
    agree("fast_weight", inputs, torch.float32)


@pytest.mark.parametrize("decay", DECAYS)
def test_single_precision_is_as_good_as_it_can_be(agree, decay):
    agree("fast_weight", draw(65, decay, "erase_key", K=16, V=16), torch.float32)


@pytest.mark.parametrize("cut", [1, 16, 30])
def test_two_halves_equal_a_whole(agree, cut):
    def in_two(form):
        def run(state, **steps):
            first, state = form(state=state, **{name: x[:, :cut] for name, x in steps.items()})
            second, state = form(state=state, **{name: x[:, cut:] for name, x in steps.items()})
            return torch.cat([first, second], 1), state

        return run

    agree("fast_weight", draw(40, erase="erase_key"), through=in_two)


def test_memory_need_not_be_contiguous(agree):
    inputs = draw(20, "channel")
    inputs["q"] = inputs["q"].transpose(1, 2).contiguous().transpose(1, 2)
    inputs["v"] = inputs["v"][:, :, :1].expand(2, 20, 2, 3)
    inputs["state"] = inputs["state"].mT.contiguous().mT
    agree("fast_weight", inputs)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_back_ends_agree_whatever_the_shapes(agree, data):
    size = st.integers(1, 4)
    B, H, K, V = (data.draw(size) for _ in range(4))
    T = data.draw(st.integers(1, 40))
    start = torch.tensor(data.draw(st.lists(st.booleans(), min_size=B * T, max_size=B * T))).view(B, T)
    decay, erase = (
        data.draw(st.sampled_from(list(DECAYS))),
        data.draw(st.sampled_from(["none", "k", "erase_key", "rate"])),
    )
    torch.manual_seed(data.draw(st.integers(0, 99)))
    agree("fast_weight", draw(T, decay, erase, B, H, K, V, start))


@pytest.mark.parametrize("erase", ["none", "k", "erase_key", "rate"])
@pytest.mark.parametrize("decay", DECAYS)
def test_the_compiled_gradients_are_those_of_finite_differences(forms, decay, erase):
    inputs = {
        name: x.double().requires_grad_() if x.is_floating_point() else x
        for name, x in draw(19, decay, erase, B=1, H=1, K=2, V=2).items()
        if x is not None
    }
    names, cpu = list(inputs), forms("fast_weight")["cpu"]
    assert torch.autograd.gradcheck(lambda *x: cpu(**dict(zip(names, x, strict=True))), [*inputs.values()])


@pytest.mark.parametrize("back_end", ["reference", "chunk", "cpu"])
def test_a_corrected_key_answers_what_was_written_last(back_end):
    k = torch.tensor([0.6, 0.8]).expand(1, 2, 1, 2)
    v = torch.tensor([[5.0, 1.0], [7.0, 3.0]]).view(1, 2, 1, 2)
    y, state = fast_weight(k, k, v, torch.zeros(1, 1, 2, 2), torch.tensor([[True, False]]), erase=k, backend=back_end)
    torch.testing.assert_close(y, v)
    torch.testing.assert_close(state[0, 0], torch.tensor([[4.2, 5.6], [1.8, 2.4]]))


@pytest.mark.parametrize("back_end", ["reference", "chunk", "cpu"])
def test_half_is_forgotten_before_each_write(back_end):
    one, half = torch.ones(1, 3, 1, 1), torch.full((1, 3, 1), 0.5).log()
    state = torch.full((1, 1, 1, 1), 8.0)
    y, state = fast_weight(one, one, one, state, torch.zeros(1, 3).bool(), decay=half, backend=back_end)
    torch.testing.assert_close(y.flatten(), torch.tensor([5.0, 3.5, 2.75]))
    torch.testing.assert_close(state.flatten(), torch.tensor([2.75]))


@pytest.mark.parametrize("back_end", ["reference", "cpu"])
def test_a_broken_life_does_not_reach_the_next(back_end):
    inputs = draw(20, start=torch.arange(20).expand(2, 20) == 9)
    inputs["state"][0], inputs["v"][1, 4] = torch.nan, torch.inf
    y, state = fast_weight(**inputs, backend=back_end)
    assert not y[:, :9].isfinite().all()
    assert y[:, 9:].isfinite().all()
    assert state.isfinite().all()


def test_threads_share_the_heads_and_change_nothing(agree, monkeypatch):
    inputs = draw(20, B=3, H=1)
    threads = torch.get_num_threads()
    monkeypatch.setattr(compiled, "LEAST", 0)
    torch.set_num_threads(2)
    try:
        agree("fast_weight", inputs)
    finally:
        torch.set_num_threads(threads)


def test_signatures_are_the_same_everywhere(forms):
    ways = {name: list(inspect.signature(form).parameters.values()) for name, form in forms("fast_weight").items()}
    public = list(inspect.signature(fast_weight).parameters.values())
    assert ways["cpu"] == ways["reference"] == ways["chunk"][:-1] == public[:-1]
    assert (ways["chunk"][-1].name, public[-1].name) == ("chunk", "backend")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("q", (2, 4, 5), r"q must be \[B, T, H, K\], got \[2, 4, 5\]"),
        ("k", (2, 4, 2, 6), r"k must be \[2, 4, 2, 5\], got \[2, 4, 2, 6\]"),
        ("v", (2, 3, 2, 3), r"v must be \[2, 4, 2, 3\], got \[2, 3, 2, 3\]"),
        ("state", (2, 2, 5, 3), r"state must be \[2, 2, 3, 5\], got \[2, 2, 5, 3\]"),
        ("start", (4, 2), r"start must be \[2, 4\], got \[4, 2\]"),
        ("decay", (2, 4), r"decay must be \[2, 4, 2\] or \[2, 4, 2, 5\], got \[2, 4\]"),
        ("erase", (2, 4, 2, 3), r"erase must be \[2, 4, 2, 5\], got \[2, 4, 2, 3\]"),
        ("erase_key", (2, 4, 2, 3), r"erase_key must be \[2, 4, 2, 5\], got \[2, 4, 2, 3\]"),
    ],
)
def test_a_wrong_shape_is_named_with_the_right_one(name, shape, message):
    inputs = draw(4, erase="erase_key")
    inputs[name] = torch.zeros(shape, dtype=inputs[name].dtype)
    with pytest.raises(ValueError, match=message):
        fast_weight(**inputs)


def test_starts_must_be_bool():
    inputs = draw(4)
    inputs["start"] = inputs["start"].float()
    with pytest.raises(ValueError, match=r"start must be bool, got torch\.float32"):
        fast_weight(**inputs)


def test_an_erase_key_without_erase_is_refused():
    inputs = draw(4, erase="erase_key")
    inputs["erase"] = None
    with pytest.raises(ValueError, match="erase_key needs erase"):
        fast_weight(**inputs)


ON_GPU = [1, 15, 17, *(pytest.param(T, marks=pytest.mark.slow) for T in (2, 16))]  # the interpreter takes 40 ms a step
ON_GPU += [63, 64, 65, 500] * torch.cuda.is_available()


EVERY_FORM = pytest.mark.parametrize("form", ["triton_step", "triton_chunk"])


@EVERY_FORM
@pytest.mark.parametrize("erase", ["none", "k", "erase_key", "rate"])
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("T", ON_GPU)
def test_the_gpu_says_what_the_plain_loop_says(triton_agrees, T, decay, erase, form):
    triton_agrees("fast_weight", draw(T, decay, erase, B=2 if T < 10 else 1, H=2 if T < 10 else 1), form=form)


@pytest.mark.parametrize("T", [33, 65])
def test_on_the_gpu_chunks_follow_each_other(triton_agrees, T):
    triton_agrees("fast_weight", draw(T, "head", "rate"), form="triton_chunk")


@EVERY_FORM
def test_on_the_gpu_lives_may_start_anywhere(triton_agrees, starts, form):
    triton_agrees("fast_weight", draw(18, "channel", "rate", H=1, start=starts(2, 18)), form=form)


@pytest.mark.parametrize("log_factor", [0.0, -1e4, -torch.inf])
@pytest.mark.parametrize("decay", ["head", "channel"])
@EVERY_FORM
def test_on_the_gpu_a_factor_may_be_exactly_one_or_zero(triton_agrees, decay, log_factor, form):
    inputs = draw(9, decay, "rate", H=1)
    inputs["decay"][:, 1::3] = log_factor
    triton_agrees("fast_weight", inputs, form=form)


@pytest.mark.parametrize(("K", "V"), [(33, 70), (130, 9), (1, 1)])
@EVERY_FORM
def test_on_the_gpu_a_matrix_may_be_many_tiles(triton_agrees, K, V, form):
    triton_agrees("fast_weight", draw(3, "head", "rate", B=1, H=1, K=K, V=V), torch.float32, form)


@pytest.mark.parametrize("beta", [0.99, 1.9])
@EVERY_FORM
def test_on_the_gpu_keys_that_repeat_cost_no_digits(triton_agrees, beta, form):
    T = 128 if torch.cuda.is_available() or form == "triton_chunk" else 20
    inputs = draw(T, "none", "none", B=1, H=1, K=32, V=8, start=torch.zeros(1, T, dtype=torch.bool))
    inputs["k"] = inputs["k"][:, :1].expand_as(inputs["k"]).clone()
    inputs["rate"] = torch.full((1, T, 1), beta)
    triton_agrees("fast_weight", inputs, torch.float32, form)


def test_on_the_gpu_memory_need_not_be_contiguous(triton_agrees):
    inputs = draw(4, "head", "rate")
    inputs["q"], inputs["state"] = inputs["q"].transpose(1, 2).contiguous().transpose(1, 2), inputs["state"].mT
    inputs["state"] = inputs["state"].contiguous().mT
    triton_agrees("fast_weight", inputs)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's numpy sees NaN being made
def test_on_the_gpu_a_broken_life_does_not_reach_the_next():
    triton_step = pytest.importorskip("lifelong.kernels.fast_weight.triton_step", exc_type=ImportError)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = draw(12, "head", "rate", H=1, start=torch.arange(12).expand(2, 12) == 7)
    inputs["state"][0], inputs["v"][1, 4] = torch.nan, torch.inf
    inputs = {name: None if x is None else x.to(device) for name, x in inputs.items()}
    v, decay = inputs["v"].requires_grad_(), inputs["decay"].requires_grad_()
    y, state = triton_step.fast_weight(**inputs)
    assert not y[:, :7].isfinite().all()
    assert y[:, 7:].isfinite().all()
    dv, ddecay = torch.autograd.grad(y.sum() + state.sum(), [v, decay])
    assert dv[:, 7:].isfinite().all()
    assert ddecay[:, 7:].isfinite().all()


@torch.no_grad()
def test_on_the_gpu_the_state_is_written_over_only_where_it_is_allowed():
    triton_step = pytest.importorskip("lifelong.kernels.fast_weight.triton_step", exc_type=ImportError)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = {name: None if x is None else x.to(device) for name, x in draw(1, erase="rate").items()}
    before = inputs["state"].clone()
    wanted, after = triton_step.fast_weight(**inputs)
    assert torch.equal(inputs["state"], before)
    with in_place():
        y, written = triton_step.fast_weight(**inputs)
    assert written.data_ptr() == inputs["state"].data_ptr()
    assert torch.equal(y, wanted)
    assert torch.equal(inputs["state"], after)
