import inspect
from functools import partial

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn.functional import normalize

from lifelong.kernels import jit as compiled
from lifelong.kernels.posterior import posterior

DECAYS = {"none": lambda *s: None, "head": lambda *s: -torch.rand(s[:3]), "channel": lambda *s: -torch.rand(s)}


def draw(T, decay="head", B=2, H=2, K=5, V=3, start=None):
    return {
        "q": torch.randn(B, T, H, K),
        "k": normalize(torch.randn(B, T, H, K), dim=-1),
        "w": torch.randn(B, T, H, V),
        "b": torch.rand(B, T, H, V),
        "evidence": torch.randn(B, H, V, K),
        "importance": torch.rand(B, H, V, K),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
        "prior": 0.5 + torch.rand(H),
        "decay": DECAYS[decay](B, T, H, K),
    }


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("T", [1, 2, 15, 16, 17, 63, 64, 65])
def test_every_back_end_says_what_the_plain_loop_says(agree, T, decay):
    agree("posterior", draw(T, decay))


def test_every_back_end_holds_over_five_hundred_steps(agree):
    agree("posterior", draw(500, B=1, H=1))


@pytest.mark.parametrize("decay", ["head", "channel"])
def test_lives_may_start_anywhere(agree, starts, decay):
    agree("posterior", draw(50, decay, start=starts(2, 50)))


@pytest.mark.parametrize("back_end", ["reference", "chunk", "cpu"])
def test_one_decay_for_all_channels_is_the_decay_of_the_head(back_end):
    inputs = draw(20)
    want = posterior(**inputs, backend=back_end)
    inputs["decay"] = inputs["decay"][..., None].expand(2, 20, 2, 5)
    torch.testing.assert_close(posterior(**inputs, backend=back_end), want)


@pytest.mark.parametrize("log_factor", [0.0, -1e4])
@pytest.mark.parametrize("decay", ["head", "channel"])
def test_a_factor_may_be_exactly_one_or_zero(agree, log_factor, decay):
    inputs = draw(33, decay)
    inputs["decay"][:, 1::3, 1:] = log_factor
    inputs["decay"][:, ::4, ..., -1] = log_factor
    agree("posterior", inputs)


@pytest.mark.parametrize("decay", DECAYS)
def test_single_precision_is_as_good_as_it_can_be(agree, decay):
    agree("posterior", draw(65, decay, K=16, V=16), torch.float32)


@pytest.mark.parametrize("cut", [1, 16, 30])
def test_two_halves_equal_a_whole(agree, cut):
    def in_two(form):
        def run(evidence, importance, prior, **steps):
            halves = ({name: x[:, part] for name, x in steps.items()} for part in (slice(cut), slice(cut, None)))
            first, *states = form(evidence=evidence, importance=importance, prior=prior, **next(halves))
            second, *states = form(evidence=states[0], importance=states[1], prior=prior, **next(halves))
            return torch.cat([first, second], 1), *states

        return run

    agree("posterior", draw(40), through=in_two)


def test_memory_need_not_be_contiguous(agree):
    inputs = draw(20)
    inputs["q"] = inputs["q"].transpose(1, 2).contiguous().transpose(1, 2)
    inputs["b"] = inputs["b"][:, :, :1].expand(2, 20, 2, 3)
    inputs["decay"] = inputs["decay"][..., None].expand(2, 20, 2, 5)
    inputs["importance"] = inputs["importance"].mT.contiguous().mT
    agree("posterior", inputs)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_back_ends_agree_whatever_the_shapes(agree, data):
    size = st.integers(1, 4)
    B, H, K, V = (data.draw(size) for _ in range(4))
    T = data.draw(st.integers(1, 40))
    start = torch.tensor(data.draw(st.lists(st.booleans(), min_size=B * T, max_size=B * T))).view(B, T)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    agree("posterior", draw(T, data.draw(st.sampled_from([*DECAYS])), B, H, K, V, start))


@pytest.mark.parametrize("decay", DECAYS)
def test_the_compiled_gradients_are_those_of_finite_differences(forms, decay):
    inputs = {
        name: x.double().requires_grad_() if x.is_floating_point() else x
        for name, x in draw(19, decay, B=1, H=1, K=2, V=2).items()
        if x is not None
    }
    names, cpu = list(inputs), forms("posterior")["cpu"]
    assert torch.autograd.gradcheck(lambda *x: cpu(**dict(zip(names, x, strict=True))), [*inputs.values()])


@pytest.mark.parametrize("back_end", ["reference", "chunk", "cpu"])
def test_importance_makes_a_weight_stiff(back_end):
    one, zero = torch.ones(1, 3, 1, 1), torch.zeros(1, 1, 1, 1)
    w = torch.tensor([6.0, 0.0, 12.0]).view(1, 3, 1, 1)
    start = torch.tensor([[True, False, True]])
    y, M, J = posterior(one, one, w, 2 * one, zero + 9, zero + 9, start, prior=torch.ones(1), backend=back_end)
    torch.testing.assert_close(y.flatten(), torch.tensor([6 / 3, 6 / 5, 12 / 3]))
    torch.testing.assert_close((M.item(), J.item()), (12.0, 2.0))


@pytest.mark.parametrize("back_end", ["reference", "cpu"])
def test_a_broken_life_does_not_reach_the_next(back_end):
    inputs = draw(20, start=torch.arange(20).expand(2, 20) == 9)
    inputs["evidence"][0], inputs["w"][1, 4] = torch.nan, torch.inf
    y, *states = posterior(**inputs, backend=back_end)
    assert not y[:, :9].isfinite().all()
    assert y[:, 9:].isfinite().all()
    assert all(state.isfinite().all() for state in states)


def test_threads_share_the_heads_and_change_nothing(agree, monkeypatch):
    inputs = draw(20, B=3, H=1)
    threads = torch.get_num_threads()
    monkeypatch.setattr(compiled, "LEAST", 0)
    torch.set_num_threads(2)
    try:
        agree("posterior", inputs)
    finally:
        torch.set_num_threads(threads)


def test_signatures_are_the_same_everywhere(forms):
    ways = {name: list(inspect.signature(form).parameters.values()) for name, form in forms("posterior").items()}
    public = list(inspect.signature(posterior).parameters.values())
    assert ways["cpu"] == ways["reference"] == ways["chunk"][:-1] == public[:-1]
    assert (ways["chunk"][-1].name, public[-1].name) == ("chunk", "backend")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("q", (2, 4, 5), r"q must be \[B, T, H, K\], got \[2, 4, 5\]"),
        ("k", (2, 4, 2, 6), r"k must be \[2, 4, 2, 5\], got \[2, 4, 2, 6\]"),
        ("w", (2, 3, 2, 3), r"w must be \[2, 4, 2, 3\], got \[2, 3, 2, 3\]"),
        ("b", (2, 4, 2, 1), r"b must be \[2, 4, 2, 3\], got \[2, 4, 2, 1\]"),
        ("evidence", (2, 2, 5, 3), r"evidence must be \[2, 2, 3, 5\], got \[2, 2, 5, 3\]"),
        ("importance", (2, 2, 5, 3), r"importance must be \[2, 2, 3, 5\], got \[2, 2, 5, 3\]"),
        ("start", (4, 2), r"start must be \[2, 4\], got \[4, 2\]"),
        ("prior", (3,), r"prior must be \[2\], got \[3\]"),
        ("decay", (2, 4, 2, 3), r"decay must be \[2, 4, 2\] or \[2, 4, 2, 5\], got \[2, 4, 2, 3\]"),
    ],
)
def test_a_wrong_shape_is_named_with_the_right_one(name, shape, message):
    inputs = draw(4)
    inputs[name] = torch.zeros(shape, dtype=inputs[name].dtype)
    with pytest.raises(ValueError, match=message):
        posterior(**inputs)


def test_starts_must_be_bool():
    inputs = draw(4)
    inputs["start"] = inputs["start"].float()
    with pytest.raises(ValueError, match=r"start must be bool, got torch\.float32"):
        posterior(**inputs)


ON_GPU = [1, 15, 17, *(pytest.param(T, marks=pytest.mark.slow) for T in (2, 16))]  # the interpreter takes 40 ms a step
ON_GPU += [63, 64, 65, 500] * torch.cuda.is_available()
EVERY_FORM = pytest.mark.parametrize("form", ["triton_step", "triton_chunk"])


@EVERY_FORM
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("T", ON_GPU)
def test_the_gpu_says_what_the_plain_loop_says(triton_agrees, T, decay, form):
    triton_agrees("posterior", draw(T, decay, B=2 if T < 10 else 1, H=2 if T < 10 else 1), form=form)


@pytest.fixture
def sixteen_at_a_time(monkeypatch):
    """Shrink the pieces to 16 steps: the interpreter is too slow for several of the usual length."""
    triton_chunk = pytest.importorskip("lifelong.kernels.posterior.triton_chunk", exc_type=ImportError)
    monkeypatch.setattr(triton_chunk, "posterior", partial(triton_chunk.posterior, chunk=16))


@pytest.mark.usefixtures("sixteen_at_a_time")
@pytest.mark.parametrize(("T", "decay"), [(31, "channel"), (32, "none"), (33, "head"), (33, "channel")])
def test_on_the_gpu_pieces_follow_each_other(triton_agrees, T, decay):
    none = torch.zeros(1, T, dtype=torch.bool)
    triton_agrees("posterior", draw(T, decay, B=1, H=1, start=none), form="triton_chunk")


def test_on_the_gpu_a_piece_may_have_many_segments(triton_agrees):
    start = torch.zeros(1, 34, dtype=torch.bool)
    triton_agrees("posterior", draw(34, B=1, H=1, start=start), form="triton_chunk")  # one piece of three


@pytest.mark.usefixtures("sixteen_at_a_time")
@EVERY_FORM
def test_on_the_gpu_lives_may_start_anywhere(triton_agrees, starts, form):
    triton_agrees("posterior", draw(18, "channel", B=1, H=1, start=starts(1, 18)), form=form)


@pytest.mark.usefixtures("sixteen_at_a_time")
@pytest.mark.parametrize(
    ("log_factor", "decay"), [(0.0, "head"), (-1e4, "channel"), (-torch.inf, "head"), (-torch.inf, "channel")]
)
@EVERY_FORM
def test_on_the_gpu_a_factor_may_be_exactly_one_or_zero(triton_agrees, log_factor, decay, form):
    inputs = draw(18, decay, B=1, H=1)
    inputs["decay"][:, 1::3, ..., :1] = log_factor
    triton_agrees("posterior", inputs, form=form)


@pytest.mark.parametrize(("K", "V"), [(33, 70), (130, 9), (1, 1)])
@EVERY_FORM
@pytest.mark.parametrize("decay", ["head", "channel"])
def test_on_the_gpu_matrices_may_be_many_tiles(triton_agrees, K, V, decay, form):
    triton_agrees("posterior", draw(3, decay, B=1, H=1, K=K, V=V), torch.float32, form)


def test_on_the_gpu_one_program_may_do_many_parts_backward(triton_agrees, monkeypatch):
    triton_step = pytest.importorskip("lifelong.kernels.posterior.triton_step", exc_type=ImportError)
    monkeypatch.setattr(triton_step, "PROGRAMS", 3)
    triton_agrees("posterior", draw(3, B=2, H=2))


@pytest.mark.usefixtures("sixteen_at_a_time")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's numpy sees NaN being made
@EVERY_FORM
def test_on_the_gpu_a_broken_life_does_not_reach_the_next(form):
    kernel = pytest.importorskip(f"lifelong.kernels.posterior.{form}", exc_type=ImportError).posterior
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = draw(19, B=1, H=1, start=torch.arange(19)[None] == 17)
    inputs["evidence"][:, :, 0], inputs["w"][:, 4, :, 1] = torch.nan, torch.inf
    inputs = {name: x.to(device) for name, x in inputs.items()}
    w, decay = inputs["w"].requires_grad_(), inputs["decay"].requires_grad_()
    y, *states = kernel(**inputs)
    assert not y[:, :17].isfinite().all()
    assert y[:, 17:].isfinite().all()
    assert all(state.isfinite().all() for state in states)
    dw, ddecay = torch.autograd.grad(y.sum() + sum(state.sum() for state in states), [w, decay])
    assert dw[:, 17:].isfinite().all()
    assert ddecay[:, 17:].isfinite().all()


@pytest.mark.parametrize("chunk", [8, 24])
def test_a_piece_is_whole_segments_and_a_power_of_two(chunk):
    triton_chunk = pytest.importorskip("lifelong.kernels.posterior.triton_chunk", exc_type=ImportError)
    with pytest.raises(ValueError, match=f"chunk must be a power of two, 16 or more, got {chunk}"):
        triton_chunk.posterior(**draw(4), chunk=chunk)


def test_long_segments_go_to_the_gpu_in_pieces(monkeypatch):
    triton_chunk = pytest.importorskip("lifelong.kernels.posterior.triton_chunk", exc_type=ImportError)
    triton_step = pytest.importorskip("lifelong.kernels.posterior.triton_step", exc_type=ImportError)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for module in (triton_step, triton_chunk):
        monkeypatch.setattr(module, "posterior", lambda *_, name=module.__name__, **__: (name, 0, 0))
    assert posterior(**draw(256), backend="triton")[0] == triton_step.__name__
    assert posterior(**draw(257), backend="triton")[0] == triton_chunk.__name__
