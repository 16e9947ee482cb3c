"""The kernels for the GPU: on one where there is one, else, on far less, through Triton's interpreter."""

import inspect
import itertools
import math
import os
import sys

import pytest
import torch

from lifelong.kernels.in_place import in_place
from lifelong.kernels.linear_scan import reference

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"  # it is read when triton is imported

if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("triton was imported before its interpreter could be asked for", allow_module_level=True)
pytest.importorskip("triton", exc_type=ImportError)
from lifelong.kernels.linear_scan import triton_chunk, triton_step  # noqa: E402  after the interpreter is chosen

FORMS = {"step": triton_step.linear_scan, "chunk": triton_chunk.linear_scan}
through = pytest.mark.parametrize("through", [False, True], ids=["whole", "read"])
every_form = pytest.mark.parametrize("form", FORMS)


def draw(T, through=False, B=2, H=3, K=5, start=None, decay=None):
    return {
        "u": torch.randn(B, T, H) if through else torch.randn(B, T, H, K),
        "decay": -torch.rand(decay or (B, T, H, K)),
        "state": torch.randn(B, H, K),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
        "write": torch.randn(B, T, K) if through else None,
        "read": torch.randn(B, T, K) if through else None,
    }


def on_device(form, **options):
    def run(**inputs):
        moved = {name: None if x is None else x.to(DEVICE) for name, x in inputs.items()}
        return tuple(x.cpu() for x in form(**moved, **options))

    return run


@pytest.fixture
def both_agree(agree):
    def compare(inputs, dtype=torch.float64, chunk=16):
        turns = itertools.cycle([on_device(FORMS["step"]), on_device(FORMS["chunk"], chunk=chunk)])
        agree("linear_scan", inputs, dtype, through=lambda _: next(turns))

    return compare


LENGTHS = [1, 2, 17, 65, *(pytest.param(T, marks=pytest.mark.slow) for T in (15, 16, 63, 64))]
LENGTHS += [500] * (DEVICE != "cpu")  # the interpreter takes seconds


@through
@pytest.mark.parametrize("T", LENGTHS)
def test_both_say_what_the_plain_loop_says(both_agree, T, through):
    both_agree(draw(T, through, B=2 if T < 20 else 1))


@through
@pytest.mark.parametrize("decay", [(2, 9, 3), (2, 9), (1, 1, 3, 5), (1, 1, 3), (1, 1)])
def test_a_decay_may_be_that_of_many_numbers(both_agree, decay, through):
    both_agree(draw(9, through, decay=decay), chunk=4)


@through
def test_lives_may_start_anywhere(both_agree, starts, through):
    both_agree(draw(20, through, start=starts(2, 20)), chunk=8)


@through
@pytest.mark.parametrize("log_factor", [0.0, -1e4, -math.inf])
def test_a_factor_may_be_exactly_one_or_zero(both_agree, log_factor, through):
    inputs = draw(20, through)
    inputs["decay"][:, 1::3] = log_factor
    both_agree(inputs, chunk=8)


@pytest.mark.parametrize(("H", "K", "through"), [(27, 41, False), (70, 13, True), (2, 600, True)])
def test_a_state_may_be_many_tiles(both_agree, H, K, through):
    both_agree(draw(9, through, H=H, K=K), torch.float32, chunk=4)


@through
def test_memory_need_not_be_contiguous(both_agree, through):
    inputs = draw(6, through)
    inputs["u"] = inputs["u"].transpose(1, 2).contiguous().transpose(1, 2)
    inputs["state"] = inputs["state"].mT.contiguous().mT
    inputs["decay"] = inputs["decay"][:, :, :1].expand(2, 6, 3, 5)
    both_agree(inputs, chunk=4)


@every_form
@through
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's numpy sees NaN being made
def test_a_broken_life_does_not_reach_the_next(form, through):
    inputs = draw(20, through, start=torch.arange(20).expand(2, 20) == 9)
    inputs["state"][0], inputs["u"][1, 4] = torch.nan, torch.inf
    options = {"chunk": 6} if form == "chunk" else {}
    u, decay = inputs["u"].requires_grad_(), inputs["decay"].requires_grad_()
    y, state = on_device(FORMS[form], **options)(**inputs)
    assert not y[:, :9].isfinite().all()
    assert y[:, 9:].isfinite().all()
    assert state.isfinite().all()
    du, ddecay = torch.autograd.grad(y.sum() + state.sum(), [u, decay])
    assert du[:, 9:].isfinite().all()
    assert ddecay[:, 9:].isfinite().all()


@every_form
def test_half_is_kept_at_each_step(form):
    u, half = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1), torch.full((1, 1), 0.5).log()
    start = torch.tensor([[False, False, True, False]])
    y, state = on_device(FORMS[form])(u=u, decay=half, state=torch.full((1, 1), 8.0), start=start)
    torch.testing.assert_close(y.flatten(), torch.tensor([5.0, 4.5, 3.0, 5.5]))
    torch.testing.assert_close(state.flatten(), torch.tensor([5.5]))


@every_form
@torch.no_grad()
@through
def test_the_state_is_written_over_only_where_it_is_allowed(form, through):
    inputs = {name: x.to(DEVICE) for name, x in draw(1, through).items() if x is not None}
    before = inputs["state"].clone()
    wanted, after = FORMS[form](**inputs)
    assert torch.equal(inputs["state"], before)
    with in_place():
        y, written = FORMS[form](**inputs)
    assert written.data_ptr() == inputs["state"].data_ptr()
    assert torch.equal(y, wanted)
    assert torch.equal(inputs["state"], after)


@every_form
def test_half_precision_comes_out_as_the_plain_loop_has_it(form):
    inputs = {name: x.to(DEVICE) for name, x in draw(8).items() if x is not None}
    inputs |= {name: inputs[name].bfloat16() for name in ("u", "decay")}
    for x, wanted in zip(FORMS[form](**inputs), reference(**inputs), strict=True):
        assert x.dtype == wanted.dtype == torch.float32
        torch.testing.assert_close(x, wanted, rtol=0.02, atol=0.02)


def test_signatures_are_the_same():
    wanted = list(inspect.signature(reference).parameters.values())
    assert list(inspect.signature(FORMS["step"]).parameters.values()) == wanted
    *same, last = inspect.signature(FORMS["chunk"]).parameters.values()
    assert (same, last.name) == (wanted, "chunk")
