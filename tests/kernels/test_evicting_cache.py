import pytest
import torch

from lifelong.kernels.evicting_cache import evicting_cache


def draw(T, B=3, L=3, H=2, K=4, V=3, F=5, start=None, lived=(0, 2, 9)):
    """Caches and sums are those of lives into which as many pairs came as `lived` says."""
    start, came = torch.rand(B, T) < 0.1 if start is None else start, []
    count = torch.tensor(lived[:B])
    for t in range(T):
        count = torch.where(start[:, t], 0, count)
        came.append(count)
        count = count + 1

    def pairs(*sizes):
        value = torch.randn(*sizes, V)
        return torch.cat([torch.randn(*sizes, K), value, torch.ones(*sizes, 1), torch.rand(*sizes, F)], -1)

    before = torch.tensor(lived[:B])
    used = (torch.arange(L) < before[:, None])[..., None, None]
    summed = (before > L)[:, None, None, None]
    return {
        "q": torch.randn(B, T, H, K),
        "phi": torch.rand(B, T, H, F),
        "pairs": pairs(B, T, H),
        "came": torch.stack(came, 1),
        "kept": torch.where(used, pairs(B, L, H), 0.0),
        "S": torch.where(summed, torch.rand(B, H, V + 1, F), 0.0),
        "start": start,
        "sharpness": torch.rand(H) + 0.5,
        "linear_bias": torch.randn(H),
    }


@pytest.mark.parametrize("T", [1, 2, 15, 16, 17, 40])
def test_the_compiled_loop_says_what_the_plain_loop_says_with_all_gradients(agree, T):
    agree("evicting_cache", draw(T))


@pytest.mark.parametrize("L", [1, 2, 7])
def test_caches_of_any_size(agree, L):
    agree("evicting_cache", draw(20, L=L))


def test_lives_may_start_anywhere(agree, starts):
    agree("evicting_cache", draw(12, start=starts(3, 12)))


def test_pairs_may_come_later(agree):
    inputs = draw(12, lived=(0, 0, 0), start=torch.zeros(3, 12).bool())
    inputs["came"] -= 4  # none enters in the first steps
    inputs["pairs"][:, :4] = 0
    agree("evicting_cache", inputs)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"came must be \[3, 2\], got \[3, 1\]"):
        evicting_cache(**draw(2) | {"came": torch.zeros(3, 1).long()})
