import pytest
import torch

from lifelong.kernels.dictionary import dictionary
from lifelong.kernels.in_place import in_place


def draw(T, B=3, N=4, K=2, V=3, start=None, kinds=2, new=True):
    """Keys of few kinds, so that they repeat."""
    value = torch.zeros(B, N, V) if new else torch.randn(B, N, V)
    return {
        "under": torch.randint(kinds, (B, T, K)),
        "what": torch.randn(B, T, V),
        "lived": (torch.rand(B, T) < 0.8).long(),
        "asked": torch.randint(kinds, (B, T, K)),
        "key": torch.zeros(B, N, K).long() if new else torch.arange(B * N * K).view(B, N, K) % kinds,
        "value": value,
        "known": torch.zeros(B, 1).long() if new else torch.full((B, 1), N),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
    }


@pytest.mark.parametrize("kinds", [2, 3, 9])
@pytest.mark.parametrize("T", [1, 2, 40])
@pytest.mark.parametrize("new", [True, False])
def test_the_compiled_loop_says_what_the_plain_loop_says_with_all_gradients(agree, T, kinds, new):
    agree("dictionary", draw(T, kinds=kinds, new=new))


def test_lives_may_start_anywhere(agree, starts):
    agree("dictionary", draw(12, start=starts(3, 12)))


@torch.no_grad()
def test_the_dictionary_is_written_in_place_only_where_that_is_allowed():
    inputs = draw(1, start=torch.zeros(3, 1).bool())
    inputs["lived"][:] = 1
    before = inputs["value"].clone()
    wanted = dictionary(**inputs)
    assert torch.equal(inputs["value"], before)
    with in_place():
        got = dictionary(**inputs)
    assert got[2].data_ptr() == inputs["value"].data_ptr()
    for x, want in zip(got, wanted, strict=True):
        assert torch.equal(x, want)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"known must be \[3, 1\], got \[2, 1\]"):
        dictionary(**draw(2) | {"known": torch.zeros(2, 1).long()})
