import pytest
import torch

from lifelong.kernels import fused
from lifelong.kernels.fused import gated_linear, gated_norm, qkv

TOLERANCE = 1e-5  # of the largest number in the tensor compared, or of 1; float32 against float64


def outcome(op, inputs, dtype, **options):
    """Run forward and backward: what comes out, and the gradient of every input."""
    torch.manual_seed(1)
    leaves = [x.to(dtype).requires_grad_() if x.is_floating_point() else x for x in inputs]
    outputs = op(*leaves, **options)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    weights = [torch.randn(x.shape, dtype=torch.float64).to(dtype) for x in outputs]
    sources = [x for x in leaves if x.requires_grad]
    return [*outputs, *torch.autograd.grad(outputs, sources, weights)]


def assert_passes_agree(op, inputs, **options):
    wanted = outcome(op, inputs, torch.float64, backend="reference", **options)
    got = outcome(op, inputs, torch.float32, backend="cpu", **options)
    for x, y in zip(wanted, got, strict=True):
        scale = max([1.0, *x.abs().flatten().tolist()])
        torch.testing.assert_close(y.double(), x, rtol=0.0, atol=TOLERANCE * scale)


def draw(B=2, T=9, H=2, K=5, V=3, conv_size=2, start=None):
    channels = H * (2 * K + V)
    start = torch.rand(B, T) < 0.2 if start is None else start
    return torch.randn(B, T, channels), torch.randn(channels, conv_size), torch.randn(B, conv_size - 1, channels), start


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("conv_size", [1, 2, 4])
@pytest.mark.parametrize("T", [1, 2, 3, 17])
def test_queries_keys_and_values_are_those_of_the_plain_operations(T, conv_size, unit):
    assert_passes_agree(qkv, draw(T=T, conv_size=conv_size), num_heads=2, key_dim=5, unit=unit)


def test_lives_may_start_anywhere(starts):
    assert_passes_agree(qkv, draw(conv_size=4, start=starts(2, 9)), num_heads=2, key_dim=5)


def test_an_old_life_is_not_seen_even_where_it_is_not_a_number():
    x, weight, state, _ = draw(T=4, conv_size=3)
    start = torch.tensor([[False, False, True, False]] * 2)
    spoilt, nan = x.clone(), torch.full_like(state, torch.nan)
    spoilt[:, :2] = torch.nan
    wanted = qkv(x, weight, state, start, 2, 5, backend="cpu")
    got = qkv(spoilt, weight, nan, start, 2, 5, backend="cpu")
    for a, b in zip(wanted[:3], got[:3], strict=True):
        assert torch.equal(a[:, 2:], b[:, 2:])
    assert torch.equal(wanted[3], got[3])


def test_queries_and_keys_have_length_one_and_nothing_stays_nothing():
    x, weight, state, start = draw(T=3)
    q, k, _, _ = qkv(x, weight, state, start, 2, 5)
    torch.testing.assert_close(torch.stack([q, k]).norm(dim=-1), torch.ones(2, 2, 3, 2), rtol=0, atol=1e-3)
    q, _, _, _ = qkv(torch.zeros_like(x), weight, torch.zeros_like(state), start, 2, 5)
    assert not q.any()


@pytest.mark.parametrize("gated", [True, False])
def test_the_norm_is_that_of_the_plain_operations(gated):
    inputs = [torch.randn(7, 40, 5), torch.randn(5)] + [torch.randn(7, 40, 5)] * gated
    assert_passes_agree(gated_norm, inputs)


def test_the_gated_product_is_that_of_the_plain_operations():
    assert_passes_agree(gated_linear, [3 * torch.randn(7, 11, 6)])


def test_a_norm_by_hand():
    # rms of (3, 4) = 5 / sqrt(2); 3 / rms = 0.8485; silu(2) = 1.7616
    x, weight, gate = torch.tensor([[3.0, 4.0]]), torch.tensor([1.0, 2.0]), torch.tensor([[2.0, 0.0]])
    torch.testing.assert_close(gated_norm(x, weight, gate), torch.tensor([[1.4948, 0.0]]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [30.0, 1e3, 1e30])
def test_numbers_of_any_size_keep_their_sigmoid(size):
    z = torch.tensor([[size, -size, 1.0, 1.0]])
    got, wanted = gated_linear(z, backend="cpu"), gated_linear(z, backend="reference")
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


def test_what_does_not_fit_is_refused():
    x, weight, state, start = draw()
    with pytest.raises(ValueError, match=r"^x must have H \(2 K \+ V\) channels with H = 3, K = 5 and V > 0, got 26"):
        qkv(x, weight, state, start, 3, 5)
    with pytest.raises(ValueError, match=r"^weight must be \[26, 2\], got \[25, 2\]"):
        qkv(x, weight[1:], state, start, 2, 5)
    with pytest.raises(ValueError, match=r"^weight must be \[5\], got \[4\]"):
        gated_norm(torch.ones(2, 5), torch.ones(4))
    with pytest.raises(ValueError, match=r"^gate must be \[2, 5\], got \[5\]"):
        gated_norm(torch.ones(2, 5), torch.ones(5), torch.ones(5))
    with pytest.raises(ValueError, match=r"^z must have an even number of channels, got 5"):
        gated_linear(torch.ones(2, 5))
    with pytest.raises(ValueError, match=r"compiled for float32 only, got float64"):
        gated_linear(torch.ones(2, 4, dtype=torch.float64), backend="cpu")


def test_float64_takes_the_plain_operations():
    assert fused.gated_linear(torch.ones(2, 4, dtype=torch.float64)).dtype == torch.float64
