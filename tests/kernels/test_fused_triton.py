"""The kernels for the GPU: on one where there is one, else, on far less, through Triton's interpreter."""

import pytest
import torch

from lifelong.kernels import fused
from lifelong.kernels.fused import gated_linear, gated_norm, qkv

pytest.importorskip("triton", exc_type=ImportError)
from lifelong.kernels.fused import triton_step

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def few_programs(monkeypatch):
    """Shrink the tiles, so that few rows need several programs and leave the last one partly filled."""
    monkeypatch.setattr(triton_step, "PROGRAMS", 2)
    monkeypatch.setattr(triton_step, "TILE", 256)


@pytest.fixture
def passes_agree(tolerance):
    def compare(op, inputs, dtypes=(torch.float64, torch.float32), **options):
        wanted = outcome(op, inputs, torch.float64, "cpu", backend="reference", **options)
        for dtype in dtypes:
            got = outcome(op, inputs, dtype, DEVICE, backend="triton", **options)
            assert len(got) == len(wanted)
            for x, y in zip(wanted, got, strict=True):
                assert y.dtype == dtype
                scale = max([1.0, *x.abs().flatten().tolist()])
                torch.testing.assert_close(y.double(), x, rtol=0.0, atol=tolerance[dtype] * scale)

    return compare


def outcome(op, inputs, dtype, device, **options):
    """Run forward and backward: what comes out, and the gradient of every input."""
    generator = torch.Generator().manual_seed(1)
    leaves = [x.to(device, dtype).requires_grad_() if x.is_floating_point() else x.to(device) for x in inputs]
    outputs = op(*leaves, **options)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x) for x in outputs]
    sources = [x for x in leaves if x.requires_grad]
    return [x.detach().cpu() for x in (*outputs, *torch.autograd.grad(outputs, sources, weights))]


def draw(B=2, T=9, H=2, K=5, V=3, conv_size=2, start=None):
    channels = H * (2 * K + V)
    start = torch.rand(B, T) < 0.2 if start is None else start
    return [
        torch.randn(B, T, channels),
        torch.randn(channels, conv_size),
        torch.randn(B, conv_size - 1, channels),
        start,
    ]


@pytest.mark.parametrize(("T", "conv_size"), [(1, 1), (1, 4), (2, 2), (2, 4), (17, 1), (17, 3)])
def test_queries_keys_and_values_are_those_of_the_plain_operations(few_programs, passes_agree, T, conv_size):
    passes_agree(qkv, draw(T=T, conv_size=conv_size), [torch.float64], num_heads=2, key_dim=5)


@pytest.mark.parametrize("unit", [True, False])
def test_single_precision_is_as_good_as_it_can_be(few_programs, passes_agree, unit):
    passes_agree(qkv, draw(T=9), [torch.float32], num_heads=2, key_dim=5, unit=unit)


def test_lives_may_start_anywhere(few_programs, passes_agree, starts):
    passes_agree(qkv, draw(H=1, T=17, conv_size=4, start=starts(2, 17)), [torch.float64], num_heads=1, key_dim=5)


@pytest.mark.parametrize(("K", "V"), [(1, 1), (1, 7), (33, 2)])
def test_heads_may_have_any_width(few_programs, passes_agree, K, V):
    passes_agree(qkv, draw(B=1, T=2, H=3, K=K, V=V), [torch.float64], num_heads=3, key_dim=K)


def test_a_few_rows_have_a_program_each(passes_agree):
    assert triton_step._cut(2, 5)["BLOCK_N"] == 1
    passes_agree(qkv, draw(B=1, T=2, H=1), [torch.float64], num_heads=1, key_dim=5)


@pytest.mark.skipif(DEVICE == "cpu", reason="the interpreter takes minutes")
def test_many_rows_on_a_gpu(passes_agree):
    passes_agree(qkv, draw(64, 128, 4, 64, 64, 4), num_heads=4, key_dim=64)
    passes_agree(gated_norm, [torch.randn(64, 512, 64), torch.randn(64), torch.randn(64, 512, 64)])
    passes_agree(gated_linear, [torch.randn(64, 128, 600)])


def test_an_old_life_is_not_seen_even_where_it_is_not_a_number(few_programs):
    x, weight, state, _ = (z.to(DEVICE) for z in draw(T=4, conv_size=3))
    start = torch.tensor([[False, False, True, False]] * 2, device=DEVICE)
    spoilt, nan = x.clone(), torch.full_like(state, torch.nan)
    spoilt[:, :2] = torch.nan
    wanted = qkv(x, weight, state, start, 2, 5, backend="triton")
    leaf = weight.clone().requires_grad_()
    got = qkv(spoilt, leaf, nan, start, 2, 5, backend="triton")
    for a, b in zip(wanted[:3], got[:3], strict=True):
        assert torch.equal(a[:, 2:], b[:, 2:])
    assert torch.equal(wanted[3], got[3])
    fresh = torch.ones_like(start[:, :1])
    y = qkv(x[:, :1], leaf, nan, fresh, 2, 5, backend="triton")
    assert torch.autograd.grad(sum(z.sum() for z in y), leaf)[0].isfinite().all()


def test_nothing_stays_nothing_and_its_gradient_is_finite(few_programs):
    x, weight, state, start = (z.to(DEVICE) for z in draw(T=3))
    x = torch.zeros_like(x).requires_grad_()
    q, k, v, _ = qkv(x, weight, torch.zeros_like(state), start, 2, 5, backend="triton")
    assert not q.any()
    assert not k.any()
    assert not v.any()
    assert torch.autograd.grad(q.sum() + k.sum() + v.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 17, 5), (3, 37), (7, 4, 40)])
def test_the_norm_is_that_of_the_plain_operations(few_programs, passes_agree, shape, gated):
    passes_agree(gated_norm, [torch.randn(shape), torch.randn(shape[-1])] + [torch.randn(shape)] * gated)


@pytest.mark.parametrize("shape", [(1, 2), (2, 17, 6), (3, 74), (7, 4, 40)])
def test_the_gated_product_is_that_of_the_plain_operations(few_programs, passes_agree, shape):
    passes_agree(gated_linear, [3 * torch.randn(shape)])


@pytest.mark.parametrize("size", [30.0, 1e3, 1e30])
def test_numbers_of_any_size_keep_their_sigmoid(size):
    z = torch.tensor([[size, -size, 1.0, 1.0]], device=DEVICE)
    got, wanted = gated_linear(z, backend="triton"), gated_linear(z, backend="reference")
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


def test_memory_need_not_be_contiguous(few_programs, passes_agree):
    turned = [x.mT.contiguous().mT for x in draw(conv_size=3)]
    assert not any(x.is_contiguous() for x in turned)
    passes_agree(qkv, turned, [torch.float64], num_heads=2, key_dim=5)
    wide = torch.randn(6, 2, 5).mT
    passes_agree(gated_norm, [wide, torch.randn(4)[::2], torch.randn(6, 2, 5).mT], [torch.float64])
    passes_agree(gated_linear, [wide], [torch.float64])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_out_as_the_plain_operations_have_it(few_programs, dtype):
    x, weight, state, start = draw(T=3, H=1)
    norm, z = [torch.randn(4, 6), torch.randn(6), torch.randn(4, 6)], torch.randn(4, 6)
    cases = [
        (qkv, [x.to(dtype), weight.to(dtype), state.to(dtype), start], {"num_heads": 1, "key_dim": 5}),
        (qkv, [x.to(dtype), weight.to(dtype), state, start], {"num_heads": 1, "key_dim": 5}),
        (gated_norm, [y.to(dtype) for y in norm], {}),
        (gated_linear, [z.to(dtype)], {}),
    ]
    for op, inputs, options in cases:
        results = []
        for backend in ("triton", "reference"):
            torch.manual_seed(1)
            leaves = [y.to(DEVICE) for y in inputs]
            leaves = [y.requires_grad_() if y.is_floating_point() else y for y in leaves]
            made = op(*leaves, **options, backend=backend)
            made = made if isinstance(made, tuple) else (made,)
            sources = [y for y in leaves if y.requires_grad]
            results.append([*made, *torch.autograd.grad(sum(y.float().sum() for y in made), sources)])
        for got, wanted in zip(*results, strict=True):
            assert got.dtype == wanted.dtype
            scale = max(1.0, wanted.detach().abs().max().item())
            torch.testing.assert_close(got, wanted, rtol=0.0, atol=0.03 * scale)


def test_the_same_comes_out_twice_to_the_bit(few_programs):
    for op, inputs, options in (
        (qkv, draw(T=3, H=1), {"num_heads": 1, "key_dim": 5}),
        (gated_norm, [torch.randn(9, 6), torch.randn(6), torch.randn(9, 6)], {}),
        (gated_linear, [torch.randn(9, 6)], {}),
    ):
        first, second = (outcome(op, inputs, torch.float32, DEVICE, backend="triton", **options) for _ in range(2))
        assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


class OnGPU:
    device, dtype, shape = torch.device("cuda"), torch.float32, (1, 3)

    def __init__(self, count=3):
        self.count = count

    def numel(self):
        return self.count


def test_on_a_gpu_it_is_what_auto_takes():
    assert fused._form("auto", 64, OnGPU()) is triton_step
    assert fused._form("auto", triton_step.WIDEST + 1, OnGPU()) is fused.reference
    assert fused._form("auto", 64, OnGPU(0)) is fused.reference


@pytest.mark.parametrize("op", ["qkv", "gated_norm", "gated_linear"])
def test_it_runs_where_it_is_asked_for(monkeypatch, op):
    def called(*_):
        raise RuntimeError("the kernel was called")

    monkeypatch.setattr(triton_step, op, called)
    inputs = {"qkv": [*draw(), 2, 5], "gated_norm": [torch.ones(2, 5), torch.ones(5)], "gated_linear": [torch.ones(4)]}
    given = [x.to(DEVICE) if isinstance(x, torch.Tensor) else x for x in inputs[op]]
    with pytest.raises(RuntimeError, match="the kernel was called"):
        getattr(fused, op)(*given, backend="triton")


def test_what_it_cannot_do_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"^backend 'triton' sums over at most 16384 channels, got 16385$"):
        gated_norm(torch.ones(1, 16385, device=DEVICE), torch.ones(16385, device=DEVICE), backend="triton")
    with pytest.raises(ValueError, match=r"^backend 'triton' needs at least one number, got \[0, 4\]$"):
        gated_linear(torch.ones(0, 4, device=DEVICE), backend="triton")
    monkeypatch.setattr(triton_step, "WIDEST", 4)
    with pytest.raises(ValueError, match=r"^backend 'triton' sums over at most 4 channels, got 5$"):
        qkv(*(x.to(DEVICE) for x in draw()), 2, 5, backend="triton")
