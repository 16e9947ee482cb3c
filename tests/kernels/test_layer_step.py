import importlib

import pytest
import torch

from lifelong.kernels.in_place import in_place
from lifelong.kernels.layer_step import layer_step

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FORMS = ["cpu", "triton_step"]
TOLERANCE = 1e-5


def draw(B=3, H=2, K=5, V=3, conv_size=2):
    C = H * (2 * K + V)
    return {
        "z": torch.randn(B, C + 2 * H + H * V),
        "bias": torch.randn(2 * H),
        "conv": torch.randn(C, conv_size),
        "norm": torch.randn(V),
        "window": torch.randn(B, conv_size - 1, C),
        "state": torch.randn(B, H, V, K),
        "start": torch.arange(B) == 1,
    }


def run(form, inputs):
    if form != "cpu":
        pytest.importorskip("triton", exc_type=ImportError)
    device = "cpu" if form == "cpu" else DEVICE
    op = importlib.import_module(f"lifelong.kernels.layer_step.{form}").layer_step
    return [x.cpu() for x in op(**{name: x.to(device) for name, x in inputs.items()})]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("conv_size", [1, 2, 4])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 2, 5, 3), (2, 3, 16, 33)])
def test_one_pass_says_what_the_plain_operations_say(form, sizes, conv_size):
    inputs = draw(*sizes, conv_size=conv_size)
    double = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
    for got, wanted in zip(run(form, inputs), layer_step(**double, backend="reference"), strict=True):
        scale = max([1.0, *wanted.abs().flatten().tolist()])
        torch.testing.assert_close(got.double(), wanted, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's numpy sees NaN
def test_a_broken_life_does_not_reach_the_next(form):
    inputs = draw(conv_size=3)
    wanted = run(form, inputs)
    inputs["window"][1], inputs["state"][1] = torch.nan, torch.nan
    for x, y in zip(run(form, inputs), wanted, strict=True):
        assert torch.equal(x[1], y[1])


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_window_and_state_are_written_over_only_where_it_is_allowed(form):
    inputs = draw(conv_size=3)
    before = {name: x.clone() for name, x in inputs.items()}
    wanted = run(form, inputs)
    assert all(torch.equal(inputs[name], before[name]) for name in inputs)
    if DEVICE == "cpu" or form == "cpu":
        with in_place():
            got = run(form, inputs)
        assert torch.equal(inputs["window"], wanted[1])
        assert torch.equal(inputs["state"], wanted[2])
        assert torch.equal(got[0], wanted[0])


def test_a_gradient_that_is_wanted_is_recorded():
    inputs = draw()
    inputs["z"].requires_grad_()
    y, _, _ = layer_step(**inputs)
    assert torch.autograd.grad(y.sum(), inputs["z"])[0].any()
    with torch.no_grad():
        assert layer_step(**inputs)[0].grad_fn is None


def test_a_step_by_hand():
    # one head, K = V = 1: q = k = 1 up to 1e-6, v = silu(2) = 1.7616; beta = 1/2, a = 1/2, S = 4
    # S <- 2 + (1.7616 - 2) / 2 = 1.8808; the norm of one number is its sign; silu(1) = 0.7311
    z = torch.tensor([[1.0, 1.0, 2.0, 0.0, 0.0, 1.0]])
    y, window, state = layer_step(
        z, torch.zeros(2), torch.ones(3, 1), torch.ones(1), torch.zeros(1, 0, 3), torch.full((1, 1, 1, 1), 4.0),
        torch.tensor([False]),
    )  # fmt: skip
    torch.testing.assert_close(state.flatten(), torch.tensor([1.8808]), rtol=0, atol=1e-4)
    torch.testing.assert_close(y, torch.tensor([[0.7311]]), rtol=0, atol=1e-4)
    assert window.shape == (1, 0, 3)


def test_what_does_not_fit_is_refused():
    inputs = draw()
    with pytest.raises(ValueError, match=r"^z must be \[3, 36\], got \[3, 35\]"):
        layer_step(**inputs | {"z": inputs["z"][:, 1:]})
    with pytest.raises(ValueError, match=r"^start must be bool, got torch\.int64"):
        layer_step(**inputs | {"start": inputs["start"].long()})
    with pytest.raises(ValueError, match=r"^bias must be on the device of z, cpu, got meta"):
        layer_step(**inputs | {"bias": inputs["bias"].to("meta")})
