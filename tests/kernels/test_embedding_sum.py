import pytest
import torch

from lifelong.kernels.embedding_sum import embedding_sum

SIZES = torch.tensor([11, 6, 1, 3] * 5)
BEGIN = SIZES.cumsum(0) - SIZES


def draw(*batch, dtype=torch.uint8):
    torch.manual_seed(0)
    values = (torch.rand(*batch, len(SIZES)) * SIZES).to(dtype)
    return values * (torch.rand(values.shape) < 0.5), torch.randn(int(SIZES.sum()), 70, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("batch", [(1,), (5, 3), (0,)])
def test_sums_and_gradients_are_those_of_the_product(batch, dtype):
    values, table = draw(*batch, dtype=dtype)
    found = []
    for backend in ("reference", "cpu"):
        leaf = table.clone().requires_grad_()
        y = embedding_sum(values, leaf, BEGIN, backend=backend)
        (gradient,) = torch.autograd.grad(y, leaf, torch.cos(torch.arange(y.numel()).view(y.shape).double()))
        found.append((y, gradient))
    for wanted, got in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


def test_a_sum_by_hand():
    table = torch.tensor([[1.0], [10.0], [100.0], [1000.0]])
    values = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]])
    begin = torch.tensor([0, 2])
    assert embedding_sum(values, table, begin).flatten().tolist() == [101.0, 110.0, 1001.0, 1010.0]


def test_a_large_table_is_looked_up_whatever_the_back_end():
    table, values, begin = torch.randn(5000, 3), torch.tensor([[4999, 0], [17, 1]]), torch.tensor([0, 2])
    with pytest.raises(IndexError, match=r"^values of place 0 must be 0 to 1, got 4999"):
        embedding_sum(values, table, begin, backend="cpu")
    begin = torch.tensor([0, 4998])
    values = torch.tensor([[4997, 1], [17, 0]])
    wanted = table[values + begin].sum(1)
    for backend in ("reference", "cpu"):
        torch.testing.assert_close(embedding_sum(values, table, begin, backend=backend), wanted)


def test_what_does_not_fit_is_refused():
    values, table = draw(4)
    with pytest.raises(ValueError, match=r"^values must be integers, got torch.float32"):
        embedding_sum(values.float(), table, BEGIN)
    with pytest.raises(ValueError, match=r"^begin must be \[20\], got \[19\]"):
        embedding_sum(values, table, BEGIN[1:])
    with pytest.raises(ValueError, match=r"^table must be \[R, D\], got \[75\]"):
        embedding_sum(values, table[:, 0][:75], BEGIN)
    with pytest.raises(IndexError, match=r"^values of place 2 must be 0 to 0, got 1"):
        embedding_sum(torch.where(torch.arange(20) == 2, 1, values.long()), table, BEGIN)
