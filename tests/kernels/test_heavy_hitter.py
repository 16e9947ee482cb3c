import pytest
import torch

from lifelong.kernels.heavy_hitter import heavy_hitter
from lifelong.kernels.heavy_hitter.reference import heavy_hitter as reference
from lifelong.kernels.in_place import in_place


def draw(T, W=5, R=2, B=3, H=2, K=4, V=3, start=None, lived=0):
    """Caches are those of lives of `lived` steps."""
    inputs = {
        "q": 3 * torch.randn(B, lived + T, H, K),
        "k": torch.randn(B, lived + T, H, K),
        "v": torch.randn(B, lived + T, H, V),
        "bias": torch.randn(H, R + 1),
        "keys": torch.zeros(B, W, H, K),
        "values": torch.zeros(B, W, H, V),
        "score": torch.zeros(B, W, H).long(),
        "age": torch.zeros(B, W, H).long() - 1,
    }
    if lived:
        before = inputs | {name: inputs[name][:, :lived] for name in "qkv"}
        _, *cache = reference(**before, start=torch.zeros(B, lived).bool())
        inputs |= dict(zip(("keys", "values", "score", "age"), cache, strict=True))
        inputs |= {name: inputs[name][:, lived:] for name in "qkv"}
    return inputs | {"start": torch.rand(B, T) < 0.1 if start is None else start}


@pytest.mark.parametrize("lived", [0, 3, 30])
@pytest.mark.parametrize("T", [1, 2, 40])
def test_the_compiled_loop_says_what_the_plain_loop_says_with_all_gradients(agree, T, lived):
    agree("heavy_hitter", draw(T, lived=lived))


@pytest.mark.parametrize(("W", "R"), [(2, 1), (3, 2), (8, 1)])
def test_caches_of_any_size(agree, W, R):
    agree("heavy_hitter", draw(20, W, R, lived=5))


def test_lives_may_start_anywhere(agree, starts):
    agree("heavy_hitter", draw(12, start=starts(3, 12), lived=9))


def test_scores_and_ages_are_those_of_the_plain_loop():
    inputs = draw(40, lived=7)
    for got, want in zip(heavy_hitter(**inputs)[3:], reference(**inputs)[3:], strict=True):
        assert torch.equal(got, want)


@torch.no_grad()
def test_a_step_writes_the_cache_in_place_only_where_that_is_allowed():
    inputs = draw(1, lived=9, start=torch.tensor([[False], [True], [False]]))
    before = inputs["keys"].clone()
    wanted = heavy_hitter(**inputs)
    assert torch.equal(inputs["keys"], before)
    with in_place():
        got = heavy_hitter(**inputs)
    assert got[1].data_ptr() == inputs["keys"].data_ptr()
    for x, want in zip(got, wanted, strict=True):
        assert torch.equal(x, want)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"age must be \[3, 5, 2\], got \[3, 4, 2\]"):
        heavy_hitter(**draw(2) | {"age": torch.zeros(3, 4, 2).long()})
