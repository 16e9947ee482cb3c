import torch

from lifelong.kernels.unit_length import unit_length


def test_it_has_length_one_and_zero_stays_zero_with_a_gradient():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.double, requires_grad=True)
    y = unit_length(x)
    torch.testing.assert_close(y.tolist(), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6, atol=0)
    y.sum().backward()
    assert x.grad.isfinite().all()
