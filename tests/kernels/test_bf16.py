"""Products in bfloat16: rounded factors, full sums, the gradients of the rounded product."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from lifelong.kernels.bf16 import BF16Products, has_bf16, linear


@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 3, 5), (0, 5)])
def test_a_linear_map_is_that_of_rounded_factors(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape, requires_grad=True), torch.randn(4, 5), torch.randn(4)
    weight.requires_grad_(), bias.requires_grad_()
    y = linear(x, weight, bias)
    rounded = x.detach().bfloat16().double(), weight.detach().bfloat16().double()
    torch.testing.assert_close(y.double(), functional.linear(*rounded, bias.double()), rtol=1e-2, atol=2e-2)
    dy = torch.randn_like(y)
    y.backward(dy)
    cut = dy.bfloat16().double()
    assert x.grad is not None
    assert weight.grad is not None
    torch.testing.assert_close(x.grad.double(), cut @ rounded[1], rtol=1e-2, atol=2e-2)
    by_hand = cut.reshape(-1, 4).T @ rounded[0].reshape(-1, 5)
    torch.testing.assert_close(weight.grad.double(), by_hand, rtol=1e-2, atol=2e-2)
    assert bias.grad is not None
    torch.testing.assert_close(bias.grad, dy.reshape(-1, 4).sum(0))


def test_while_it_lasts_linear_modules_of_float32_alone_are_rounded() -> None:
    torch.manual_seed(0)
    module, x = nn.Linear(64, 8), torch.randn(3, 64)
    exact = module(x)
    with BF16Products():
        rounded = module(x)
        assert torch.equal(module.double()(x.double()), functional.linear(x.double(), module.weight, module.bias))
    module.float()
    assert torch.equal(module(x), exact)
    assert rounded.dtype is torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=2e-2, atol=2e-2)


def test_a_device_without_such_instructions_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    assert not has_bf16(cpu)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    assert has_bf16(cpu)
