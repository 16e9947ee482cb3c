import pytest
import torch

from lifelong.kernels.slstm import slstm


def draw(T, B=3, D=6, H=2, start=None, new=False):
    n = 1 + torch.rand(B, D)
    return {
        "given": 2 * torch.randn(B, T, 4 * D),
        "recurrent": torch.randn(H, 4 * D // H, D // H),
        "c": torch.zeros(B, D) if new else torch.randn(B, D),
        "n": torch.zeros(B, D) if new else n,
        "m": torch.full((B, D), -1e30) if new else torch.randn(B, D),
        "h": torch.zeros(B, D) if new else torch.randn(B, D),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
    }


@pytest.mark.parametrize("T", [1, 2, 3, 64, 65])
def test_the_compiled_loop_says_what_the_plain_loop_says_with_all_gradients(agree, T):
    agree("slstm", draw(T))


@pytest.mark.parametrize("H", [1, 3, 6])
def test_heads_of_any_size(agree, H):
    agree("slstm", draw(7, H=H))


def test_a_life_begins_with_its_state(agree):
    agree("slstm", draw(9, new=True, start=torch.zeros(3, 9).bool()))


def test_lives_may_start_anywhere(agree, starts):
    agree("slstm", draw(9, start=starts(3, 9)))


def test_single_precision_is_as_good_as_it_can_be(agree):
    agree("slstm", draw(33), torch.float32)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"m must be \[3, 6\], got \[3, 5\]"):
        slstm(**draw(2) | {"m": torch.ones(3, 5)})
